//! The tokens of a text as in GloVe 6B.

/// Longest word with dots, in bytes.
const LONGEST: usize = 32;
/// Abbreviations that end with a dot and are no words of their own, as the Stanford tokeniser knows them.
const ABBREVIATIONS: [&str; 44] = [
    "mr", "mrs", "ms", "dr", "prof", "rev", "hon", "gov", "sen", "rep", "gen", "col", "lt", "sgt",
    "capt", "cpl", "maj", "st", "jr", "sr", "inc", "corp", "co", "ltd", "bros", "vs", "etc",
    "dept", "univ", "est", "approx", "ave", "blvd", "mt", "jan", "feb", "apr", "jul", "aug",
    "sept", "sep", "oct", "nov", "dec",
];

/// The tokens of a text as in GloVe 6B: lower case, punctuation marks separate, and the endings `'s 're 've 'll 'd 'm n't`
/// split off, as the Stanford tokeniser does. Words with dots (`u.s.`, `mr.`) are one token where `known` says so.
pub fn words(text: &str, known: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    let mut word = String::new();
    let text = text.to_lowercase().replace('\u{2019}', "'");
    let mut rest = text.as_str();
    while let Some(letter) = rest.chars().next() {
        if let Some(dotted) = dotted(rest, &known).filter(|_| word.is_empty()) {
            word.push_str(dotted);
            rest = &rest[dotted.len()..];
            continue;
        }
        rest = &rest[letter.len_utf8()..];
        let next = rest.chars().next();
        let inside = !word.is_empty() && next.is_some_and(char::is_alphanumeric);
        let digit_before = word.ends_with(|c: char| c.is_ascii_digit());
        let digit_after = next.is_some_and(|next| next.is_ascii_digit());
        if letter.is_alphanumeric() || (letter == '\'' && inside) {
            word.push(letter);
        } else if matches!(letter, '.' | ',') && digit_before && digit_after {
            word.push(letter); // 3.5 and 1,000 are one word
        } else {
            push_word(&mut found, std::mem::take(&mut word));
            if !letter.is_whitespace() && !letter.is_control() {
                found.push(letter.to_string());
            }
        }
    }
    push_word(&mut found, word);
    found
}

/// The word with dots at the start of `text`; `None` when it has no dot or is not known.
///
/// A word whose only dot is the last may stand at the end of a sentence. It is taken for an abbreviation when it is a usual
/// one, or when the word without its dot is not known.
fn dotted<'a>(text: &'a str, known: &impl Fn(&str) -> bool) -> Option<&'a str> {
    let end = text.find(|letter: char| letter != '.' && !letter.is_alphanumeric());
    let run = &text[..end.unwrap_or(text.len())];
    let bare = run.trim_end_matches('.');
    if bare.len() > LONGEST || !bare.starts_with(char::is_alphabetic) {
        return None;
    }
    if bare.contains('.') {
        let with_dot = run.get(..bare.len() + 1);
        return [with_dot, Some(bare)].into_iter().flatten().find(|word| known(word));
    }
    let word = run.get(..bare.len() + 1)?;
    let usual = ABBREVIATIONS.contains(&bare);
    (known(word) && (usual || !known(bare))).then_some(word)
}

/// Adds a word, or a word and its contracted ending.
fn push_word(found: &mut Vec<String>, word: String) {
    let ending = ["n't", "'s", "'re", "'ve", "'ll", "'d", "'m"]
        .into_iter()
        .find(|ending| word.ends_with(ending) && word.len() > ending.len());
    match ending {
        Some(ending) => {
            found.push(word[..word.len() - ending.len()].to_owned());
            found.push(ending.to_owned());
        }
        None if word.is_empty() => {}
        None => found.push(word),
    }
}
