//! Messages of parsers in plain words: serde and the number parsers of Rust name types of Rust.

use std::fmt::Display;

/// What serde expects, by the start of its name for it. The first that fits is used, so longer names come first.
const EXPECTED: [(&str, &str); 27] = [
    ("u8", "a whole number from 0 to 255"),
    ("u16", "a whole number from 0 to 65535"),
    ("u32", "a whole number from 0 to 4294967295"),
    ("u64", "a whole number, 0 or more"),
    ("usize", "a whole number, 0 or more"),
    ("a nonzero", "a whole number other than 0"),
    ("nonzero", "a whole number other than 0"),
    ("i8", "a whole number from -128 to 127"),
    ("i16", "a whole number from -32768 to 32767"),
    ("i32", "a whole number from -2147483648 to 2147483647"),
    ("i64", "a whole number"),
    ("isize", "a whole number"),
    ("f32", "a number"),
    ("f64", "a number"),
    ("a boolean", "true or false"),
    ("a string", "text"),
    ("string or map", "a name or a table"),
    ("path string", "a path"),
    ("a sequence", "a list"),
    ("a map", "a table"),
    ("struct", "a table"),
    ("internally tagged enum", "a table with `kind`"),
    ("adjacently tagged enum", "a table with `kind`"),
    ("enum", "a name"),
    ("variant identifier", "a name"),
    ("option", "a value"),
    ("unit", "nothing"),
];
/// What serde got, by its name for it.
const GOT: [(&str, &str); 9] = [
    ("integer `", ""),
    ("floating point `", ""),
    ("boolean `", ""),
    ("string ", "the text "),
    ("sequence", "a list"),
    ("map", "a table"),
    ("null", "nothing"),
    ("unit value", "nothing"),
    ("Option value", "a value"),
];
/// Messages of Rust's number parsers.
const NUMBERS: [(&str, &str); 6] = [
    ("invalid digit found in string", "expected a whole number, 0 or more"),
    ("cannot parse integer from empty string", "expected a whole number"),
    ("number too large to fit in target type", "the number is too large"),
    ("number too small to fit in target type", "the number is too small"),
    ("invalid float literal", "expected a number"),
    ("cannot parse float from empty string", "expected a number"),
];

/// The message of a serde error with what it got and expected in the words of a file's author. Other messages stay.
pub fn of_serde(error: impl Display) -> String {
    let text = error.to_string();
    let (body, place) = match text.rfind(" at line ") {
        Some(at) => {
            (&text[..at], format!(" (in {})", text[at + 4..].replace(" column", ", column")))
        }
        None => (&text[..], String::new()),
    };
    let complaint =
        ["invalid type: ", "invalid value: "].iter().find_map(|start| body.strip_prefix(start));
    let length =
        body.strip_prefix("invalid length ").and_then(|rest| rest.split_once(", expected "));
    if let Some((got, expected)) = length {
        let number = expected.split(' ').rfind(|word| word.bytes().all(|b| b.is_ascii_digit()));
        return format!("expected {} values, got {got}{place}", number.unwrap_or("other"));
    }
    let said = match complaint.and_then(|rest| rest.rsplit_once(", expected ")) {
        Some((got, expected)) => {
            format!("expected {}, got {}", expected_in_words(expected), got_in_words(got))
        }
        None if body.starts_with("EOF while parsing") => "ends too early".to_owned(),
        None => body.to_owned(),
    };
    said + &place
}

fn expected_in_words(expected: &str) -> String {
    let fits = |(name, _): &&(&str, &str)| {
        let rest = expected.strip_prefix(name);
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()))
    };
    EXPECTED.iter().find(fits).map_or(expected, |(_, words)| words).to_owned()
}

fn got_in_words(got: &str) -> String {
    let fit = GOT.iter().find_map(|(name, words)| Some((words, got.strip_prefix(name)?)));
    fit.map_or(got.to_owned(), |(words, rest)| format!("{words}{}", rest.trim_end_matches('`')))
}

/// A text with the messages of Rust's number parsers, and of clap's ranges at the end of a line, in plain words.
pub fn of_numbers(text: &str) -> String {
    let ranges = |line: &str| match line.rsplit_once(" is not in ") {
        Some((before, range)) if range.contains("..") => {
            let start = before.rfind(' ').map_or(0, |at| at + 1);
            let range = range.replace("..=", " to ").replace("..", " to less than ");
            format!("{}expected a whole number from {range}", &before[..start])
        }
        _ => line.to_owned(),
    };
    let text = text.split('\n').map(ranges).collect::<Vec<_>>().join("\n");
    NUMBERS.iter().fold(text, |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde::de::DeserializeOwned;
    use std::collections::BTreeMap;

    fn message<T: DeserializeOwned>(json: &str) -> String {
        match serde_json::from_str::<T>(json) {
            Err(error) => of_serde(error),
            Ok(_) => panic!("{json} is read"),
        }
    }

    #[test]
    fn types_of_rust_become_words() {
        #[derive(Deserialize)]
        struct Settings {
            #[serde(rename = "size")]
            _size: u16,
        }
        for (message, expected) in [
            (
                message::<u64>("-3"),
                "expected a whole number, 0 or more, got -3 (in line 1, column 2)",
            ),
            (
                message::<u8>("300"),
                "expected a whole number from 0 to 255, got 300 (in line 1, column 3)",
            ),
            (message::<Vec<String>>("[3]"), "expected text, got 3 (in line 1, column 2)"),
            (
                message::<f32>("\"a\""),
                "expected a number, got the text \"a\" (in line 1, column 3)",
            ),
            (message::<bool>("2.5"), "expected true or false, got 2.5 (in line 1, column 3)"),
            (message::<Vec<u8>>("{}"), "expected a list, got a table (in line 1, column 0)"),
            (
                message::<BTreeMap<String, u8>>("true"),
                "expected a table, got true (in line 1, column 4)",
            ),
            (message::<Settings>("4"), "expected a table, got 4 (in line 1, column 1)"),
            (message::<Settings>("{"), "ends too early (in line 1, column 1)"),
            (message::<Settings>("{}"), "missing field `size` (in line 1, column 2)"),
            (message::<[f32; 2]>("[1]"), "expected 2 values, got 1 (in line 1, column 3)"),
            (message::<f64>("null"), "expected a number, got nothing (in line 1, column 4)"),
        ] {
            assert_eq!(message, expected);
        }
    }

    #[test]
    fn number_parsers_say_what_they_expect() {
        for text in ["x", "", "-1", "99999999999"] {
            let error = text.parse::<u32>().unwrap_err().to_string();
            let said = of_numbers(&error);
            assert!(said != error && !said.contains("string") && !said.contains("type"), "{said}");
        }
        let error = "error: '0' for '--threads <N>': 0 is not in 1..=1024\n\nFor more";
        let said =
            "error: '0' for '--threads <N>': expected a whole number from 1 to 1024\n\nFor more";
        assert_eq!(of_numbers(error), said);
        let error = "x".parse::<f64>().unwrap_err();
        assert_eq!(of_numbers(&format!("--rate: {error}")), "--rate: expected a number");
    }
}
