//! The phrases and words of the synthetic world's text.

/// A place in a phrase.
#[derive(Debug, Clone, Copy)]
pub(super) enum Slot {
    /// Always this word.
    Word(&'static str),
    /// One of [`FEELINGS`].
    Feeling,
    /// One of [`TOPICS`].
    Topic,
}

use Slot::{Feeling, Topic, Word};

pub(super) const PHRASES: [&[Slot]; 5] = [
    &[Word("i"), Word("felt"), Feeling, Word("and"), Feeling, Word("about"), Word("the"), Topic],
    &[Word("well"), Word("this"), Topic, Word("was"), Word("so"), Feeling, Word("really"), Feeling],
    &[Word("the"), Topic, Word("is"), Feeling, Word("and"), Word("they"), Word("are"), Feeling],
    &[Word("it"), Word("was"), Word("a"), Feeling, Topic, Word("just"), Feeling],
    &[
        Word("you"),
        Word("know"),
        Feeling,
        Word("is"),
        Word("how"),
        Word("i"),
        Word("see"),
        Word("the"),
        Feeling,
        Topic,
    ],
];

pub(super) const TOPICS: [&str; 8] =
    ["movie", "story", "company", "book", "teacher", "city", "doctor", "music"];

/// Words for each emotion, in RAVDESS's order.
pub(super) const FEELINGS: [[&str; 6]; 8] = [
    ["plain", "regular", "usual", "ordinary", "average", "typical"],
    ["quiet", "gentle", "steady", "peaceful", "relaxed", "easy"],
    ["wonderful", "great", "lovely", "delighted", "fun", "glad"],
    ["sorry", "lost", "lonely", "miserable", "grieving", "tearful"],
    ["furious", "unfair", "outrageous", "annoyed", "hateful", "raging"],
    ["scared", "afraid", "dangerous", "worried", "terrified", "panicked"],
    ["gross", "nasty", "sick", "awful", "rotten", "vile"],
    ["wow", "sudden", "unexpected", "amazing", "shocked", "incredible"],
];
