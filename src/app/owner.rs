//! Who listens already where we want to, as far as the system tells us.

use std::fs;

use crate::net::listen::Endpoint;

/// The process that listens there: its id and name.
pub(super) fn owner(at: &Endpoint) -> Option<String> {
    match at {
        Endpoint::Tcp(address) => {
            find(&["/proc/net/tcp", "/proc/net/tcp6"], |line| tcp_inode(line, address.port()))
        }
        Endpoint::Unix(_) => {
            let path = at.to_string();
            find(&["/proc/net/unix"], |line| unix_inode(line, &path))
        }
    }
}

fn find(tables: &[&str], inode: impl Fn(&str) -> Option<u64>) -> Option<String> {
    let inode = tables.iter().find_map(|table| {
        let table = fs::read_to_string(table).ok()?;
        table.lines().skip(1).find_map(&inode)
    })?;
    let socket = format!("socket:[{inode}]");
    fs::read_dir("/proc").ok()?.flatten().find_map(|process| {
        let pid: u32 = process.file_name().to_str()?.parse().ok()?;
        let mut files = fs::read_dir(process.path().join("fd")).ok()?.flatten();
        files.find(|file| {
            fs::read_link(file.path()).is_ok_and(|target| target.to_str() == Some(&socket))
        })?;
        let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
        Some(format!("process {pid} ({})", name.trim()))
    })
}

/// The inode in a line of the table, if that is a socket that listens on `port`.
fn tcp_inode(line: &str, port: u16) -> Option<u64> {
    const LISTEN: &str = "0A";
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let (_, local) = fields.get(1)?.rsplit_once(':')?;
    let listens = u16::from_str_radix(local, 16) == Ok(port) && fields.get(3) == Some(&LISTEN);
    if listens { fields.get(9)?.parse().ok() } else { None }
}

/// The same for a unix socket at `path`.
fn unix_inode(line: &str, path: &str) -> Option<u64> {
    // Num RefCount Protocol Flags Type St Inode Path
    const ACCEPTS: &str = "00010000";
    let mut fields = line.split_ascii_whitespace();
    let listens = fields.nth(3) == Some(ACCEPTS);
    let inode = fields.nth(2)?;
    if listens && fields.next() == Some(path) { inode.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_find_ourselves() {
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let unix = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&unix).unwrap();
        for at in [Endpoint::Tcp(tcp.local_addr().unwrap()), Endpoint::Unix(unix)] {
            let owner = owner(&at).unwrap();
            assert!(owner.starts_with(&format!("process {} (", std::process::id())), "{owner}");
        }
    }
}
