//! One statement.

use super::body::RawInstruction;
use super::operand::{Operand, operand};
use super::scope::{Scope, find, variable};
use crate::error::Error;
use crate::kernel::{Bank, Register};

/// The start of a statement: guard and opcode.
pub(super) struct Head {
    pub guard: Option<(Register, bool)>,
    pub opcode: String,
    /// Where the operands start in the text.
    pub rest: usize,
    /// The statement with single spaces.
    pub text: String,
}

/// Parses the guard and the opcode of a statement without its semicolon.
pub(super) fn head(statement: &str, scopes: &[Scope], line: usize) -> Result<Head, Error> {
    let text = statement.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut rest = text.as_str();
    let mut guard = None;
    if let Some(guarded) = rest.strip_prefix('@') {
        let (name, behind) = guarded.split_once(' ').unwrap_or((guarded, ""));
        let (name, negated) = name.strip_prefix('!').map_or((name, false), |name| (name, true));
        let register = find(scopes, name).filter(|r| r.bank == Bank::Predicate);
        let register = register.ok_or_else(|| {
            let what = format!("`{text}`: predicate `{name}` is not declared");
            Error::Parse { line, what }
        })?;
        guard = Some((register, negated));
        rest = behind.trim_start();
    }
    let (opcode, operands) = rest.split_once(' ').unwrap_or((rest, ""));
    let (opcode, rest) = (opcode.to_owned(), text.len() - operands.len());
    Ok(Head { guard, opcode, rest, text })
}

/// Whether a statement is a call.
pub(super) fn is_call(statement: &str) -> bool {
    let mut words = statement.split_whitespace().filter(|word| !word.starts_with('@'));
    words.next().is_some_and(|opcode| opcode == "call" || opcode.starts_with("call."))
}

/// Parses an operand with the names in scope.
pub(super) fn scoped(text: &str, scopes: &[Scope]) -> Result<Operand, String> {
    let mut parsed = operand(text, &|name| find(scopes, name))?;
    rename(&mut parsed, scopes);
    Ok(parsed)
}

/// Replaces the names of variables by those among the body's symbols.
fn rename(operand: &mut Operand, scopes: &[Scope]) {
    match operand {
        Operand::Symbol(name) => {
            if let Some(unique) = variable(scopes, name) {
                unique.clone_into(name);
            }
        }
        Operand::Address(Some(base), _) => rename(base, scopes),
        Operand::Vector(parts) => parts.iter_mut().for_each(|part| rename(part, scopes)),
        _ => {}
    }
}

/// Parses one statement without its semicolon.
pub(super) fn instruction(
    statement: &str,
    scopes: &[Scope],
    line: usize,
) -> Result<RawInstruction, Error> {
    let Head { guard, opcode, rest, text } = head(statement, scopes, line)?;
    let operands = split_operands(&text[rest..])
        .into_iter()
        .map(|operand| scoped(operand, scopes))
        .collect::<Result<_, _>>()
        .map_err(|what| Error::Parse { line, what: format!("`{text}`: {what}") })?;
    Ok(RawInstruction { guard, opcode, operands, text, location: None, line })
}

/// Splits at the commas outside braces, brackets and parentheses.
pub(super) fn split_operands(list: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, c) in list.char_indices() {
        match c {
            '{' | '[' | '(' => depth += 1,
            '}' | ']' | ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(list[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    if !list[start..].trim().is_empty() {
        parts.push(list[start..].trim());
    }
    parts
}
