//! The secrets that clients show with their cancels.

/// The secret part of a cancel key; its length depends on the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secret {
    /// Protocol 3.0.
    Short([u8; 4]),
    /// Protocol 3.2.
    Long([u8; 16]),
}

impl Secret {
    /// A random one, for this minor version of protocol 3.
    pub fn random(minor: u16) -> Self {
        if minor < 2 { Self::Short(rand::random()) } else { Self::Long(rand::random()) }
    }

    /// As it goes on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short(bytes) => bytes,
            Self::Long(bytes) => bytes,
        }
    }
}
