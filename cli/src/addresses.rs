//! Addresses as flags hold them: one `HOST:PORT`, the list of masters, and the name of a zone, which is where too.
//!
//! Owns their text forms. Leaves resolving names, and which of them may be advertised, to the servers.

use std::collections::BTreeMap;
use std::str::FromStr;

use hayrick_protocol::ids::NodeId;
use hayrick_protocol::limits::NAME_BYTES_MAX;

/// `HOST:PORT`, checked: the host is a name, an IPv4 address, or an IPv6 address in brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address(String);

impl Address {
    /// The text, as it goes into options and messages.
    pub(crate) fn text(&self) -> String {
        self.0.clone()
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not an address; write HOST:PORT, as in 127.0.0.1:9090");
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let bracketed = host.starts_with('[') && host.ends_with(']');
        let host_ok = if bracketed {
            host[1..host.len() - 1].parse::<std::net::Ipv6Addr>().is_ok()
        } else {
            !host.is_empty()
                && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
        };
        if !host_ok || port.parse::<u16>().is_err() {
            return Err(wrong());
        }
        if text.len() > NAME_BYTES_MAX {
            return Err(format!(
                "an address has at most {NAME_BYTES_MAX} bytes, and this one {}",
                text.len()
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// An address that others are to dial: its port is one, not any.
pub(crate) fn reachable(text: &str) -> Result<Address, String> {
    let address: Address = text.parse()?;
    match text.rsplit_once(':').map(|(_, port)| port.parse::<u16>()) {
        Some(Ok(0)) => Err(format!("{text:?} is dialled by others, who cannot reach port 0; name the port")),
        _ => Ok(address),
    }
}

/// The name of a zone: short, as it goes into every table.
pub(crate) fn zone(text: &str) -> Result<String, String> {
    if text.len() > NAME_BYTES_MAX {
        return Err(format!(
            "the name of a zone has at most {NAME_BYTES_MAX} bytes, and this one {}",
            text.len()
        ));
    }
    Ok(text.to_owned())
}

/// `--masters`: with ids (`1=HOST:PORT,2=…`) as masters need it, or plain (`HOST:PORT,…`) as volumes take it too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Masters(Vec<(Option<NodeId>, Address)>);

impl FromStr for Masters {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let entries = text.split(',').map(|entry| {
            let entry = entry.trim();
            match entry.split_once('=') {
                None => Ok((None, reachable(entry)?)),
                Some((id, address)) => Ok((Some(master_id(id)?), reachable(address)?)),
            }
        });
        entries.collect::<Result<Vec<_>, String>>().map(Self)
    }
}

impl Masters {
    /// By id, as a master needs them.
    pub(crate) fn by_id(&self) -> Result<BTreeMap<NodeId, String>, String> {
        let mut masters = BTreeMap::new();
        for (id, address) in &self.0 {
            let Some(id) = id else {
                return Err(format!("--masters of a master names ids: write 1={} and so on", address.text()));
            };
            if masters.values().any(|known| *known == address.text()) {
                return Err(format!("--masters names {} twice", address.text()));
            }
            if masters.insert(*id, address.text()).is_some() {
                return Err(format!("--masters names id {id} twice"));
            }
        }
        Ok(masters)
    }

    /// Their addresses alone, as a volume needs them.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.0.iter().map(|(_, address)| address.text()).collect()
    }
}

/// A master's id: a number from 1.
pub(crate) fn master_id(text: &str) -> Result<NodeId, String> {
    match text.trim().parse::<NodeId>() {
        Ok(id) if id.0 > 0 => Ok(id),
        _ => Err(format!("{text:?} is not the id of a master; ids are numbers from 1")),
    }
}

/// The id of a volume.
///
/// # Errors
/// What would do.
pub(crate) fn volume_id(text: &str) -> Result<u64, String> {
    match text.trim().parse::<u32>() {
        Ok(id) if id > 0 => Ok(id.into()),
        _ => {
            Err(format!("{text:?} is not the id of a volume; `hayrick volume ls` shows them, numbers from 1"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse().expect("an address")
    }

    #[test]
    fn addresses_have_a_host_and_a_port() {
        for right in ["127.0.0.1:9090", "localhost:1", "a-b.example:65535", "[::1]:9090"] {
            assert_eq!(address(right).text(), right);
        }
        for wrong in
            ["", "9090", ":9090", "host:", "host:99999", "http://host:1", "::1:9090", "[x]:1", "a b:1"]
        {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_others_dial_has_a_port_and_fits_a_message() {
        assert!(address("127.0.0.1:0").text().ends_with(":0"), "listening on any port is fine");
        assert!(reachable("127.0.0.1:0").unwrap_err().contains("port 0"));
        assert_eq!(reachable("127.0.0.1:1"), Ok(address("127.0.0.1:1")));
        assert!(format!("{}:1", "a".repeat(255)).parse::<Address>().unwrap_err().contains("256"));
        assert!(zone(&"z".repeat(257)).is_err() && zone("rack 7") == Ok("rack 7".to_owned()));
    }

    #[test]
    fn masters_are_named_with_ids_or_without() {
        let with_ids: Masters = "1=a:1, 2=b:2".parse().expect("a list");
        assert_eq!(with_ids.addresses(), ["a:1", "b:2"]);
        let by_id = with_ids.by_id().expect("ids are there");
        assert_eq!(
            by_id.into_iter().collect::<Vec<_>>(),
            [(NodeId(1), "a:1".into()), (NodeId(2), "b:2".into())]
        );

        let plain: Masters = "a:1,b:2".parse().expect("a list");
        assert_eq!(plain.addresses(), ["a:1", "b:2"]);
        assert!(plain.by_id().unwrap_err().contains("1=a:1"));
    }

    #[test]
    fn a_list_of_masters_that_contradicts_itself_is_refused() {
        for twice in ["1=a:1,1=b:2", "1=a:1,2=a:1"] {
            assert!(twice.parse::<Masters>().expect("parses").by_id().is_err(), "{twice}");
        }
        for wrong in ["", "0=a:1", "x=a:1", "1=a", "1=a:1,", "1=a:0", "a:0"] {
            assert!(wrong.parse::<Masters>().is_err(), "{wrong}");
        }
    }
}
