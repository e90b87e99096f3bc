//! `/-/ready`: whether this volume would take an append. Before it is registered it is not: see `starting`.

use axum::body::Body;
use hayrick_protocol::cluster_map::VolumeStatus;
use hayrick_web::Problem;
use http::{HeaderValue, Response, StatusCode, header};

use crate::store::Store;

pub(crate) const PATH: &str = "/-/ready";

pub(crate) fn get(store: &Store) -> Result<Response<Body>, Problem> {
    judge(&store.status()).map_err(|why| Problem::new(StatusCode::SERVICE_UNAVAILABLE, why))?;
    let mut response = Response::new(Body::from("ready\n"));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    Ok(response)
}

fn judge(status: &VolumeStatus) -> Result<(), String> {
    if let Some(cause) = &status.read_only {
        return Err(format!(
            "this volume takes no appends, as its disk failed: {cause}; it serves what it holds"
        ));
    }
    if status.full {
        return Err(format!(
            "this volume has no room: {} of its {} bytes (--capacity) are used, and what the disk has free beyond its \
             reserve is {}; it serves what it holds. Give it a larger disk or --capacity, or start another volume",
            status.used_bytes, status.capacity_bytes, status.free_bytes
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_that_would_refuse_an_append_is_not_ready_and_says_why() {
        let status = VolumeStatus { capacity_bytes: 100, free_bytes: 90, ..VolumeStatus::default() };
        assert_eq!(judge(&status), Ok(()));
        let full = VolumeStatus { full: true, free_bytes: 0, used_bytes: 75, ..status.clone() };
        let why = judge(&full).expect_err("it is full");
        assert!(why.contains("no room: 75 of its 100 bytes"), "{why}");
        let failed = VolumeStatus { read_only: Some("sync: EIO".to_owned()), ..status };
        assert!(judge(&failed).expect_err("its disk failed").contains("sync: EIO"));
    }
}
