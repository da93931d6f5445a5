//! Corpora: one module for each, which implements [`CorpusFormat`].
//!
//! To add a corpus, write a module `NAME` with a type that implements [`CorpusFormat`] and the constant `FORMAT`, and add
//! the word `NAME` to the list `corpora!` below. Configurations (`data.format`), the program's `--format`, its help and
//! `mpuc data check` use the list.

mod census;
mod format;
pub mod tree;

pub use census::Census;
pub use format::{CorpusFormat, Format, Found, Options, OwnSplit, Wanted};

/// Declares the modules of the corpora and the lists of their formats and names.
macro_rules! corpora {
    ($($name:ident)*) => {
        $(pub mod $name;)*

        /// The formats of all corpora, in the order in which [`Format::recognise`] tries them.
        pub const FORMATS: &[Format] = &[$($name::FORMAT),*];

        /// The names of [`FORMATS`].
        pub const NAMES: &[&str] = &[$(stringify!($name)),*];
    };
}

corpora! { mosei crema_d ravdess folders manifest }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_has_the_name_of_its_module() {
        let names: Vec<&str> = FORMATS.iter().map(|format| format.name()).collect();
        assert_eq!(names, NAMES);
        for format in FORMATS {
            let text = serde_json::to_string(format).unwrap();
            assert_eq!(text, format!("{:?}", format.name()));
            assert_eq!(serde_json::from_str::<Format>(&text).unwrap(), *format);
        }
        let error = serde_json::from_str::<Format>("\"ravdes\"").unwrap_err().to_string();
        assert!(error.contains("unknown variant `ravdes`, expected one of `mosei`"), "{error}");
    }

    #[test]
    fn a_path_that_is_no_corpus_is_refused_with_the_formats() {
        let folder = tempfile::tempdir().unwrap();
        let error = Format::recognise(folder.path()).unwrap_err().to_string();
        assert!(error.contains("not a known corpus") && error.contains("crema_d"), "{error}");
        let error = Format::recognise(&folder.path().join("none")).unwrap_err().to_string();
        assert!(error.contains("does not exist"), "{error}");
    }
}
