//! PgBouncer's connection strings: `key=value` with spaces between them, a value in single quotes
//! where it has spaces itself, single quotes inside doubled. No error quotes a value.

/// Reads all pairs, in their order.
///
/// # Errors
/// What is wrong, in words.
pub(super) fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut found = Vec::new();
    let mut rest = text.trim_start_matches(SPACE);
    while !rest.is_empty() {
        let end = rest.find([' ', '\t', '=']).unwrap_or(rest.len());
        let (key, after) = rest.split_at(end);
        let Some(value) = after.trim_start_matches(SPACE).strip_prefix('=') else {
            return Err(format!("pair {} must be key=value", found.len() + 1));
        };
        if key.is_empty() {
            return Err(format!("pair {} has no key", found.len() + 1));
        }
        let (value, after) = value_of(value.trim_start_matches(SPACE))
            .ok_or_else(|| format!("{key}: the closing quote is missing"))?;
        if value.is_empty() {
            return Err(format!("{key} has no value"));
        }
        found.push((key.to_owned(), value));
        rest = after.trim_start_matches(SPACE);
    }
    Ok(found)
}

/// The value at the start of a text, and what follows it.
fn value_of(text: &str) -> Option<(String, &str)> {
    let Some(mut rest) = text.strip_prefix('\'') else {
        let (value, after) = text.split_at(text.find(SPACE).unwrap_or(text.len()));
        return Some((value.to_owned(), after));
    };
    let mut value = String::new();
    loop {
        let (before, after) = rest.split_once('\'')?;
        value.push_str(before);
        match after.strip_prefix('\'') {
            Some(doubled) => {
                value.push('\'');
                rest = doubled;
            }
            None => return Some((value, after)),
        }
    }
}

const SPACE: [char; 2] = [' ', '\t'];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read_with_their_quotes() {
        let read = |text: &str| {
            let pairs = pairs(text)?;
            let pairs = pairs.iter().map(|(key, value)| format!("{key}={value}"));
            Ok(pairs.collect::<Vec<_>>().join("|"))
        };
        let cases: &[(&str, Result<&str, &str>)] = &[
            ("", Ok("")),
            ("  \t ", Ok("")),
            ("host=a", Ok("host=a")),
            ("host = a  port\t=  5 ", Ok("host=a|port=5")),
            ("connect_query='select ''a b'' '", Ok("connect_query=select 'a b' ")),
            ("password='a=b c'dbname=x", Ok("password=a=b c|dbname=x")),
            ("password=a'b=c", Ok("password=a'b=c")),
            ("user=ü", Ok("user=ü")),
            ("host", Err("pair 1 must be key=value")),
            ("a=b host port=1", Err("pair 2 must be key=value")),
            ("=b", Err("pair 1 has no key")),
            ("password=", Err("password has no value")),
            ("password=''", Err("password has no value")),
            ("password='s3cret", Err("password: the closing quote is missing")),
        ];
        for (text, expected) in cases {
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(read(text), expected, "{text}");
        }
    }
}
