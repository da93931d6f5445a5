//! The body of a kernel.

use std::collections::HashMap;

use super::function::Function;
use super::location::{Locations, Recent};
use super::operand::{Operand, operand};
use super::{Cursor, Declared, ModuleScope, declared};
use crate::error::Error;
use crate::kernel::{Bank, Register, Variable};
use crate::parameter::Parameter;

/// The statements and declarations of a kernel.
pub(crate) struct Body {
    pub name: String,
    pub instructions: Vec<RawInstruction>,
    /// Labels and the index of the instruction after each.
    pub labels: HashMap<String, usize>,
    pub symbols: HashMap<String, Symbol>,
    pub locations: Locations,
    /// Registers declared in the word, long and predicate banks.
    pub banks: [usize; 3],
    pub parameters: Vec<Parameter>,
    pub parameter_bytes: usize,
    pub shared_bytes: usize,
    /// The arrays in shared memory.
    pub arrays: Vec<Array>,
    pub local_bytes: usize,
    pub required_block: Option<[u32; 3]>,
    /// The most threads of a block, of `.maxntid`.
    pub most_threads: Option<u64>,
}

/// An array in shared memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Array {
    pub name: String,
    /// Its offset.
    pub start: usize,
    /// `None`: all dynamic shared memory of the launch.
    pub bytes: Option<usize>,
}

/// One instruction with its operands resolved.
pub(crate) struct RawInstruction {
    pub guard: Option<(Register, bool)>,
    pub opcode: String,
    pub operands: Vec<Operand>,
    pub text: String,
    /// Index among the body's locations.
    pub location: Option<u32>,
    pub line: usize,
}

/// The meaning of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Symbol {
    /// Offset in the parameter space.
    Parameter(usize),
    /// Offset in the block's shared memory.
    Shared(usize),
    /// Offset in a thread's local memory.
    Local(usize),
    /// Index among the module's variables.
    Variable(u32),
}

/// Registers declared in one pair of braces: single names, and prefixes with a count.
#[derive(Default)]
struct Scope {
    single: HashMap<String, Register>,
    ranges: HashMap<String, (Register, usize)>,
}

/// Parses a kernel.
pub(super) fn kernel(kernel: &Function<'_>, scope: &ModuleScope) -> Result<Body, Error> {
    let mut body = Body {
        name: kernel.name.to_owned(),
        instructions: Vec::new(),
        labels: HashMap::new(),
        symbols: HashMap::new(),
        locations: Locations::default(),
        banks: [0; 3],
        parameters: Vec::new(),
        parameter_bytes: 0,
        shared_bytes: 0,
        arrays: Vec::new(),
        local_bytes: 0,
        required_block: None,
        most_threads: None,
    };
    for (index, variable) in scope.variables.iter().enumerate() {
        body.symbols.insert(variable.name.clone(), Symbol::Variable(index as u32));
    }
    for shared in scope.shared.iter().filter(|shared| !shared.unsized_) {
        body.share(shared);
    }
    for parameter in kernel.parameters.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let text = parameter.strip_prefix(".param").unwrap_or(parameter);
        let parameter = declared(text, kernel.line)?;
        let at = place(&mut body.parameter_bytes, &parameter);
        body.parameters.push(Parameter {
            name: parameter.variable.name.clone(),
            type_name: parameter.type_name,
            offset: at,
            bytes: parameter.variable.bytes,
            align: parameter.align,
        });
        body.symbols.insert(parameter.variable.name, Symbol::Parameter(at));
    }
    let directives = kernel.directives;
    let mut cursor = Cursor { rest: kernel.body, line: kernel.body_line };
    let cursor = &mut cursor;
    body.required_block = extents(directives, ".reqntid");
    let most = extents(directives, ".maxntid");
    body.most_threads = most.map(|block| block.iter().map(|&n| u64::from(n)).product());

    let mut scopes = vec![Scope::default()];
    let (mut location, mut recent) = (None, Recent::default());
    while !scopes.is_empty() {
        cursor.skip_space();
        let line = cursor.line;
        match cursor.rest.chars().next() {
            None => {
                let what = format!("the kernel {} has no closing brace", body.name);
                return Err(Error::Parse { line, what });
            }
            Some('{') => {
                cursor.advance(1);
                scopes.push(Scope::default());
            }
            Some('}') => {
                cursor.advance(1);
                scopes.pop();
            }
            Some(';') => {
                cursor.advance(1);
            }
            Some('.') => match cursor.word() {
                ".loc" => {
                    location = body.locations.parse(cursor.until('\n'), &mut recent, None);
                }
                ".reg" => declare_registers(&mut body, &mut scopes, cursor.until(';'), line)?,
                ".shared" => {
                    let shared = declared(cursor.until(';'), line)?;
                    body.share(&shared);
                }
                ".local" => {
                    let local = declared(cursor.until(';'), line)?;
                    let at = place(&mut body.local_bytes, &local);
                    body.symbols.insert(local.variable.name, Symbol::Local(at));
                }
                ".pragma" => {
                    cursor.until(';');
                }
                other => {
                    let what = format!("the directive `{other}` is not supported in a kernel");
                    return Err(Error::Parse { line, what });
                }
            },
            Some(_) => {
                let end = cursor.rest.find([';', ':']).unwrap_or(cursor.rest.len());
                let head = &cursor.rest[..end];
                let is_label = cursor.rest[end..].starts_with(':')
                    && !cursor.rest[end..].starts_with("::")
                    && !head.contains(char::is_whitespace);
                if is_label {
                    body.labels.insert(head.to_owned(), body.instructions.len());
                    cursor.advance(end + 1);
                } else {
                    let statement = cursor.until(';');
                    body.instructions.push(instruction(statement, &scopes, location, line)?);
                }
            }
        }
    }
    // Dynamic shared memory starts after the static part.
    let align = scope.shared.iter().map(|s| s.align).max().unwrap_or(16).max(16);
    for shared in scope.shared.iter().filter(|shared| shared.unsized_) {
        body.shared_bytes = body.shared_bytes.next_multiple_of(align);
        let name = shared.variable.name.clone();
        body.symbols.insert(name.clone(), Symbol::Shared(body.shared_bytes));
        body.arrays.push(Array { name, start: body.shared_bytes, bytes: None });
    }
    Ok(body)
}

impl Body {
    /// Gives a variable its place in shared memory.
    fn share(&mut self, shared: &Declared) {
        let start = place(&mut self.shared_bytes, shared);
        let Variable { name, bytes, .. } = &shared.variable;
        self.symbols.insert(name.clone(), Symbol::Shared(start));
        self.arrays.push(Array { name: name.clone(), start, bytes: Some(*bytes) });
    }
}

/// Allocates the next aligned offset for a variable.
fn place(used: &mut usize, variable: &Declared) -> usize {
    let at = used.next_multiple_of(variable.align.max(1));
    *used = at + variable.variable.bytes;
    at
}

/// The block size of `.reqntid` or `.maxntid`.
fn extents(directives: &str, name: &str) -> Option<[u32; 3]> {
    let (_, rest) = directives.split_once(name)?;
    let mut block = [1; 3];
    let numbers = rest.split('.').next().unwrap_or("").split(',');
    for (axis, number) in block.iter_mut().zip(numbers) {
        *axis = number.trim().parse().ok()?;
    }
    Some(block)
}

/// `.reg .b32 %r<19>;` and `.reg .pred p, q;`.
fn declare_registers(
    body: &mut Body,
    scopes: &mut [Scope],
    text: &str,
    line: usize,
) -> Result<(), Error> {
    let fail = |what: String| Error::Parse { line, what };
    let (class, names) = text.trim().split_once(char::is_whitespace).unwrap_or((text, ""));
    let (bank, counter) = match class {
        ".pred" => (Bank::Predicate, 2),
        ".b16" | ".u16" | ".s16" | ".f16" | ".bf16" => (Bank::Half, 0),
        ".b32" | ".u32" | ".s32" | ".f32" | ".f16x2" | ".bf16x2" => (Bank::Word, 0),
        ".b64" | ".u64" | ".s64" | ".f64" => (Bank::Long, 1),
        _ => return Err(fail(format!("registers of type `{class}` are not supported"))),
    };
    let scope = scopes.last_mut().ok_or_else(|| fail("a register outside of a body".to_owned()))?;
    for name in names.split(',').map(str::trim) {
        let first = body.banks[counter];
        let slot =
            u16::try_from(first).map_err(|_| fail("got more than 65536 registers".to_owned()))?;
        let register = Register { bank, slot };
        if let Some((prefix, count)) = name.strip_suffix('>').and_then(|n| n.split_once('<')) {
            let count: usize =
                count.parse().map_err(|_| fail(format!("`{name}` has no register count")))?;
            body.banks[counter] += count;
            scope.ranges.insert(prefix.to_owned(), (register, count));
        } else {
            body.banks[counter] += 1;
            scope.single.insert(name.to_owned(), register);
        }
    }
    if body.banks[counter] > usize::from(u16::MAX) {
        return Err(fail("got more than 65535 registers of one size".to_owned()));
    }
    Ok(())
}

/// Finds a register by name in the innermost scope that declares it.
fn find(scopes: &[Scope], name: &str) -> Option<Register> {
    let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let (prefix, number) = name.split_at(name.len() - digits);
    scopes.iter().rev().find_map(|scope| {
        scope.single.get(name).copied().or_else(|| {
            let &(first, count) = scope.ranges.get(prefix)?;
            let number: usize = number.parse().ok().filter(|&number| number < count)?;
            Some(Register { slot: first.slot + number as u16, ..first })
        })
    })
}

/// Parses one statement without its semicolon.
fn instruction(
    statement: &str,
    scopes: &[Scope],
    location: Option<u32>,
    line: usize,
) -> Result<RawInstruction, Error> {
    let text = statement.split_whitespace().collect::<Vec<_>>().join(" ");
    let fail = |what: String| Error::Parse { line, what: format!("`{text}`: {what}") };
    let find = |name: &str| find(scopes, name);
    let mut rest = text.as_str();
    let mut guard = None;
    if let Some(guarded) = rest.strip_prefix('@') {
        let (name, behind) = guarded.split_once(' ').unwrap_or((guarded, ""));
        let (name, negated) = name.strip_prefix('!').map_or((name, false), |name| (name, true));
        let register = find(name).filter(|r| r.bank == Bank::Predicate);
        guard = Some((
            register.ok_or_else(|| fail(format!("predicate `{name}` is not declared")))?,
            negated,
        ));
        rest = behind.trim_start();
    }
    let (opcode, list) = rest.split_once(' ').unwrap_or((rest, ""));
    let operands = split_operands(list)
        .into_iter()
        .map(|text| operand(text, &find))
        .collect::<Result<_, _>>()
        .map_err(&fail)?;
    let opcode = opcode.to_owned();
    Ok(RawInstruction { guard, opcode, operands, text, location, line })
}

/// Splits at the commas outside braces and brackets.
fn split_operands(list: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, c) in list.char_indices() {
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
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
