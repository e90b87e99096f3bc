// A master with prepared answers, for the examples in the crate's documentation: they include it in hidden lines, inside
// a module, where no file can open with `//!`. Each connection gets the next answer.
pub async fn master(answers: &'static [&'static str]) -> std::io::Result<String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?.to_string();
    tokio::spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await?;
            let mut request = Vec::new();
            // To its end: what is left unread at the close would take the answer back.
            loop {
                let text = String::from_utf8_lossy(&request).to_lowercase();
                let length = |head: &str| head.split("content-length: ").nth(1)?.lines().next()?.parse().ok();
                let is_whole =
                    |(head, body): (&str, &str)| body.len() >= length(head).unwrap_or(0_usize);
                if text.split_once("\r\n\r\n").is_some_and(is_whole) || stream.read_buf(&mut request).await? == 0 {
                    break;
                }
            }
            stream.write_all(answer.replacen("\r\n", "\r\nHayrick-Server: master\r\nConnection: close\r\n", 1).as_bytes()).await?;
            stream.shutdown().await?;
        }
        std::io::Result::Ok(())
    });
    Ok(addr)
}
