//! The parameters of a Bind message, looked at one by one where one is asked for.
//! <https://www.postgresql.org/docs/current/protocol-message-formats.html>

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// As text.
    Text,
    /// In the binary form of its type.
    Binary,
}

/// A parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter<'a> {
    /// How it is written.
    pub format: Format,
    /// What is written; `None` is NULL.
    pub value: Option<&'a [u8]>,
}

/// All parameters. Asked for in their order, they take one walk through the message.
#[derive(Clone, Copy, Debug)]
pub struct Parameters<'a> {
    formats: &'a [[u8; 2]],
    count: u16,
    values: &'a [u8],
    /// What begins with the parameter of the number `next`, from 0.
    rest: &'a [u8],
    next: u16,
}

impl<'a> Parameters<'a> {
    /// Those of a Bind message, from behind its two names on. That all are there is found out when
    /// they are asked for.
    pub fn read(body: &'a [u8]) -> Option<Self> {
        let (formats, body) = body.split_first_chunk()?;
        let formats = usize::from(u16::from_be_bytes(*formats)).checked_mul(2)?;
        let (formats, body) = body.split_at_checked(formats)?;
        let (count, values) = body.split_first_chunk()?;
        let count = u16::from_be_bytes(*count);
        Some(Self { formats: formats.as_chunks().0, count, values, rest: values, next: 0 })
    }

    /// How many there are.
    pub fn count(&self) -> u16 {
        self.count
    }

    /// The one of this number, from 0; `None` if the message has none, or ends too early.
    pub fn get(&mut self, number: u16) -> Option<Parameter<'a>> {
        if number >= self.count {
            return None;
        }
        if number < self.next {
            (self.rest, self.next) = (self.values, 0);
        }
        loop {
            let (len, rest) = self.rest.split_first_chunk()?;
            let (value, rest) = match i32::from_be_bytes(*len) {
                -1 => (None, rest),
                len => {
                    let (value, rest) = rest.split_at_checked(usize::try_from(len).ok()?)?;
                    (Some(value), rest)
                }
            };
            (self.rest, self.next) = (rest, self.next + 1);
            if self.next > number {
                return Some(Parameter { format: self.format(number)?, value });
            }
        }
    }

    /// One format is for all; none is text.
    fn format(&self, number: u16) -> Option<Format> {
        let code = match self.formats {
            [] => return Some(Format::Text),
            [all] => all,
            each => each.get(usize::from(number))?,
        };
        match u16::from_be_bytes(*code) {
            0 => Some(Format::Text),
            1 => Some(Format::Binary),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(formats: &[u16], values: &[Option<&[u8]>]) -> Vec<u8> {
        let word = |value: usize| u16::try_from(value).unwrap().to_be_bytes();
        let mut body = word(formats.len()).to_vec();
        formats.iter().for_each(|format| body.extend(format.to_be_bytes()));
        body.extend(word(values.len()));
        for value in values {
            let len = value.map_or(-1, |value| i32::try_from(value.len()).unwrap());
            body.extend(len.to_be_bytes());
            body.extend(value.unwrap_or_default());
        }
        body
    }

    #[test]
    fn parameters_are_found_in_any_order_with_their_formats() {
        let values = [Some(&b"one"[..]), None, Some(b""), Some(b"four")];
        for (formats, of_last) in
            [(&[][..], Format::Text), (&[1], Format::Binary), (&[1, 1, 1, 0], Format::Text)]
        {
            let body = message(formats, &values);
            let mut parameters = Parameters::read(&body).unwrap();
            assert_eq!(parameters.count(), 4);
            for at in [0_u16, 1, 3, 2, 2, 0, 3] {
                assert_eq!(parameters.get(at).unwrap().value, values[usize::from(at)], "{at}");
            }
            assert_eq!(parameters.get(3).unwrap().format, of_last);
            assert_eq!(parameters.get(4), None);
        }
    }

    #[test]
    fn what_is_cut_or_wrong_is_none() {
        let body = message(&[0, 1], &[Some(b"one"), Some(b"two")]);
        for end in 0..body.len() {
            let found = Parameters::read(&body[..end]).and_then(|mut all| all.get(1));
            assert_eq!(found, None, "{end}");
        }
        let wrong = message(&[2], &[Some(b"one")]);
        assert_eq!(Parameters::read(&wrong).unwrap().get(0), None);
        let few = message(&[0, 0], &[Some(b"1"), Some(b"2"), Some(b"3")]);
        assert_eq!(Parameters::read(&few).unwrap().get(2), None);
        let long = [0, 0, 0, 1, 0x7f, 0xff, 0xff, 0xff, 1];
        assert_eq!(Parameters::read(&long).unwrap().get(0), None);
    }
}
