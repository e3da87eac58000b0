//! The first packet of somebody unknown, and the `options` in it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgweir::wire::startup::{PACKET_LEN, Packet, packet_len, read, read_options};

fuzz_target!(|data: &[u8]| {
    if let Some(word) = data.first_chunk::<4>() {
        assert!(packet_len(*word).is_err() || PACKET_LEN.contains(&packet_len(*word).unwrap()));
    }
    if let Ok(settings) = read_options(data) {
        assert!(settings.iter().all(|(name, _)| !name.is_empty() && !name.contains(&b'=')));
        let kept: usize = settings.iter().map(|(name, value)| name.len() + value.len()).sum();
        assert!(kept <= data.len());
    }
    match read(data) {
        Ok(Packet::Startup(startup)) => {
            for (name, value) in &startup.parameters {
                assert!(!name.is_empty() && !name.starts_with(b"_pq_."));
                assert!(!name.contains(&0) && !value.contains(&0));
            }
            // Written again, it reads as the same.
            let version = (3 << 16) | u32::from(startup.minor);
            let mut again = version.to_be_bytes().to_vec();
            let options = startup.protocol_options.iter().map(|name| (name, &[][..]));
            let parameters = startup.parameters.iter().map(|(name, value)| (name, &value[..]));
            for (name, value) in parameters.chain(options) {
                again.extend([&name[..], b"\0", value, b"\0"].concat());
            }
            again.push(0);
            assert_eq!(read(&again), Ok(Packet::Startup(startup)));
            // All of it counts.
            assert!(read(&data[..data.len() - 1]).is_err());
        }
        Ok(Packet::Cancel(cancel)) => {
            assert_eq!(data.len(), 8 + cancel.secret.len());
            assert!((4..=256).contains(&cancel.secret.len()));
        }
        Ok(Packet::Ssl | Packet::Gss) => assert_eq!(data.len(), 4),
        Err(_) => {}
    }
});
