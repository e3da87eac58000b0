//! How a [`Value`] gets into the field of a struct, and out again.
//!
//! A value of another kind than the field's is not stored. That can't happen with a key whose kind
//! fits its field, and a test sees to it that every key's does.

use std::path::PathBuf;
use std::time::Duration;

use super::choice::{
    AuthType, LoadBalance, LogFormat, OwnWrites, PinPolicy, PoolMode, ReadRouting, Spread,
    TransactionRouting,
};
use super::host_port::HostPort;
use super::rate::Rate;
use super::secret::Secret;
use super::setting::Kind;
use super::tls::{SslMode, SslNegotiation, TlsVersions};
use super::units::{ByteSize, FileMode};
use super::value::Value;

/// A field that a [`Value`] can be stored in.
pub(crate) trait Field {
    fn store(&mut self, value: Value);
    fn load(&self, kind: Kind) -> Value;
}

impl Field for bool {
    fn store(&mut self, value: Value) {
        if let Value::Flag(flag) = value {
            *self = flag;
        }
    }

    fn load(&self, _: Kind) -> Value {
        Value::Flag(*self)
    }
}

/// Numbers, and numbers that may be missing.
macro_rules! number_fields {
    ($($number:ty),*) => {$(
        impl Field for $number {
            fn store(&mut self, value: Value) {
                if let Value::Count(number) = value && let Ok(number) = number.try_into() {
                    *self = number;
                }
            }

            fn load(&self, _: Kind) -> Value {
                u64::try_from(*self).map_or(Value::Unset, Value::Count)
            }
        }

        impl Field for Option<$number> {
            fn store(&mut self, value: Value) {
                match value {
                    Value::Count(number) => *self = number.try_into().ok(),
                    Value::Limit(limit) => *self = limit.and_then(|limit| limit.try_into().ok()),
                    Value::Unset => *self = None,
                    _ => {}
                }
            }

            fn load(&self, kind: Kind) -> Value {
                let number = self.and_then(|number| u64::try_from(number).ok());
                match (kind, number) {
                    (Kind::Limit(..), limit) => Value::Limit(limit),
                    (_, Some(number)) => Value::Count(number),
                    (_, None) => Value::Unset,
                }
            }
        }
    )*};
}

number_fields!(u16, u32, usize, u8);

impl Field for Duration {
    fn store(&mut self, value: Value) {
        if let Value::Time(_, time) = value {
            *self = time;
        }
    }

    fn load(&self, kind: Kind) -> Value {
        Value::Time(kind.unit(), *self)
    }
}

impl Field for Option<Duration> {
    fn store(&mut self, value: Value) {
        if let Value::TimeLimit(_, time) = value {
            *self = time;
        }
    }

    fn load(&self, kind: Kind) -> Value {
        Value::TimeLimit(kind.unit(), *self)
    }
}

impl Field for Option<Option<Duration>> {
    fn store(&mut self, value: Value) {
        match value {
            Value::TimeLimit(_, time) => *self = Some(time),
            Value::Unset => *self = None,
            _ => {}
        }
    }

    fn load(&self, kind: Kind) -> Value {
        self.map_or(Value::Unset, |time| Value::TimeLimit(kind.unit(), time))
    }
}

/// Fields that hold what the value holds.
macro_rules! plain_fields {
    ($($field:ty: $variant:ident),*) => {$(
        impl Field for $field {
            fn store(&mut self, value: Value) {
                if let Value::$variant(value) = value {
                    *self = value;
                }
            }

            fn load(&self, _: Kind) -> Value {
                Value::$variant(self.clone())
            }
        }
    )*};
}

plain_fields!(
    String: Text,
    ByteSize: Size,
    FileMode: FileMode,
    Vec<String>: Names,
    Vec<HostPort>: Hosts,
    PoolMode: Mode,
    PinPolicy: Pin,
    AuthType: Auth,
    SslMode: SslMode,
    SslNegotiation: SslNegotiation,
    TlsVersions: TlsVersions,
    ReadRouting: Reads,
    TransactionRouting: Transactions,
    OwnWrites: OwnWrites,
    LogFormat: LogFormat,
    Spread: Spread
);

/// Fields that hold what the value holds, or nothing.
macro_rules! optional_fields {
    ($($field:ty: $variant:ident),*) => {$(
        impl Field for Option<$field> {
            fn store(&mut self, value: Value) {
                match value {
                    Value::$variant(value) => *self = Some(value),
                    Value::Unset => *self = None,
                    _ => {}
                }
            }

            fn load(&self, _: Kind) -> Value {
                self.clone().map_or(Value::Unset, Value::$variant)
            }
        }
    )*};
}

optional_fields!(
    Secret: Secret,
    PoolMode: Mode,
    LoadBalance: Balance,
    Vec<String>: Names,
    ReadRouting: Reads,
    TransactionRouting: Transactions,
    OwnWrites: OwnWrites,
    Spread: Spread
);

impl Field for Option<Rate> {
    fn store(&mut self, value: Value) {
        *self = match value {
            Value::Rate(rate) => Some(rate),
            _ => None,
        };
    }

    fn load(&self, _: Kind) -> Value {
        self.map_or(Value::Unset, Value::Rate)
    }
}

impl Field for Option<String> {
    fn store(&mut self, value: Value) {
        match value {
            Value::Text(text) => *self = Some(text).filter(|text| !text.is_empty()),
            Value::Unset => *self = None,
            _ => {}
        }
    }

    fn load(&self, _: Kind) -> Value {
        self.clone().map_or(Value::Unset, Value::Text)
    }
}

impl Field for Option<PathBuf> {
    fn store(&mut self, value: Value) {
        match value {
            Value::Text(text) => *self = (!text.is_empty()).then(|| PathBuf::from(text)),
            Value::Unset => *self = None,
            _ => {}
        }
    }

    fn load(&self, _: Kind) -> Value {
        let text = |path: &PathBuf| Value::Text(path.display().to_string());
        self.as_ref().map_or(Value::Unset, text)
    }
}
