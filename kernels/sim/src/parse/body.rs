//! The body of a kernel.

use std::collections::HashMap;

use super::function::Function;
use super::location::{Locations, Recent};
use super::operand::Operand;
use super::scope::Scope;
use super::statement::{instruction, is_call};
use super::{Cursor, Declared, ModuleScope, declared};
use crate::error::Error;
use crate::kernel::Register;
use crate::parameter::Parameter;

/// The statements and declarations of a kernel.
pub(crate) struct Body {
    pub name: String,
    pub instructions: Vec<RawInstruction>,
    /// Variables by their names; a second one of the same name has a number behind it.
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

/// Parses a kernel, with the functions that it calls expanded into it.
pub(super) fn kernel(kernel: &Function<'_>, module: &ModuleScope<'_>) -> Result<Body, Error> {
    let mut body = Body {
        name: kernel.name.to_owned(),
        instructions: Vec::new(),
        symbols: HashMap::new(),
        locations: Locations::default(),
        banks: [0; 3],
        parameters: Vec::new(),
        parameter_bytes: 0,
        shared_bytes: 0,
        arrays: Vec::new(),
        local_bytes: 0,
        required_block: extents(kernel.directives, ".reqntid"),
        most_threads: extents(kernel.directives, ".maxntid")
            .map(|block| block.iter().map(|&n| u64::from(n)).product()),
    };
    for (index, variable) in module.variables.iter().enumerate() {
        body.symbols.insert(variable.name.clone(), Symbol::Variable(index as u32));
    }
    for shared in module.shared.iter().filter(|shared| !shared.unsized_) {
        body.share(shared, shared.variable.name.clone());
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
    let mut parser = Parser {
        module,
        body,
        active: Vec::new(),
        sizes: HashMap::new(),
        local_align: 1,
        expanded: 0,
    };
    parser.statements(kernel, Frame::default())?;
    let mut body = parser.body;
    // The next thread's part starts aligned too.
    body.local_bytes = body.local_bytes.next_multiple_of(parser.local_align);
    // Dynamic shared memory starts after the static part.
    let align = module.shared.iter().map(|s| s.align).max().unwrap_or(16).max(16);
    for shared in module.shared.iter().filter(|shared| shared.unsized_) {
        body.shared_bytes = body.shared_bytes.next_multiple_of(align);
        let name = shared.variable.name.clone();
        body.symbols.insert(name.clone(), Symbol::Shared(body.shared_bytes));
        body.arrays.push(Array { name, start: body.shared_bytes, bytes: None });
    }
    Ok(body)
}

impl Body {
    /// Gives a variable its place in shared memory, under a name.
    fn share(&mut self, shared: &Declared, name: String) {
        let start = place(&mut self.shared_bytes, shared);
        self.symbols.insert(name.clone(), Symbol::Shared(start));
        self.arrays.push(Array { name, start, bytes: Some(shared.variable.bytes) });
    }
}

/// Parses the statements of a kernel and of the functions that it calls.
pub(super) struct Parser<'a> {
    pub module: &'a ModuleScope<'a>,
    pub body: Body,
    /// The functions that are being expanded, outermost first.
    pub active: Vec<&'a str>,
    /// Bytes of each variable of the `.param` space, by its name among the body's symbols.
    pub sizes: HashMap<String, usize>,
    /// The largest alignment of a variable in local memory.
    pub local_align: usize,
    /// Calls expanded so far.
    pub expanded: usize,
}

/// The kernel's own code, or one expansion of a function.
#[derive(Default)]
pub(super) struct Frame<'a> {
    /// The function; `None` for the kernel.
    pub function: Option<&'a str>,
    /// Names declared in each pair of braces around a statement.
    pub scopes: Vec<Scope>,
    /// Labels and the index of the instruction after each.
    pub labels: HashMap<String, usize>,
    pub location: Option<u32>,
    pub recent: Recent,
    /// The place of the call.
    pub caller: Option<u32>,
}

impl<'a> Parser<'a> {
    /// Parses the statements of a function.
    pub fn statements(
        &mut self,
        function: &Function<'a>,
        mut frame: Frame<'a>,
    ) -> Result<(), Error> {
        let start = self.body.instructions.len();
        let outer = frame.scopes.len();
        frame.scopes.push(Scope::default());
        let mut cursor = Cursor { rest: function.body, line: function.body_line };
        while frame.scopes.len() > outer {
            cursor.skip_space();
            let line = cursor.line;
            match cursor.rest.chars().next() {
                // The text ends with the closing brace.
                None => break,
                Some('{') => {
                    cursor.advance(1);
                    frame.scopes.push(Scope::default());
                }
                Some('}') => {
                    cursor.advance(1);
                    frame.scopes.pop();
                }
                Some(';') => {
                    cursor.advance(1);
                }
                Some('.') => self.directive(&mut cursor, &mut frame)?,
                Some(_) => {
                    let end = cursor.rest.find([';', ':']).unwrap_or(cursor.rest.len());
                    let head = cursor.rest[..end].trim_end();
                    let is_label = cursor.rest[end..].starts_with(':')
                        && !cursor.rest[end..].starts_with("::")
                        && !head.contains(char::is_whitespace);
                    if is_label {
                        frame.labels.insert(head.to_owned(), self.body.instructions.len());
                        cursor.advance(end + 1);
                        continue;
                    }
                    let statement = cursor.until(';');
                    if is_call(statement) {
                        self.call(statement, &frame, line)?;
                    } else {
                        let mut parsed = instruction(statement, &frame.scopes, line)?;
                        parsed.location = frame.location;
                        self.body.instructions.push(parsed);
                    }
                }
            }
        }
        self.resolve(&frame, start);
        Ok(())
    }

    /// Replaces the labels of a frame by instructions; a function returns to what follows it.
    fn resolve(&mut self, frame: &Frame<'_>, start: usize) {
        let end = self.body.instructions.len();
        for instruction in &mut self.body.instructions[start..] {
            let opcode = instruction.opcode.as_str();
            if opcode.starts_with("ret") && frame.function.is_some() {
                instruction.opcode = "bra".to_owned();
                instruction.operands = vec![Operand::Target(end)];
            } else if opcode.starts_with("bra")
                && let [Operand::Symbol(label)] = instruction.operands.as_slice()
                && let Some(&target) = frame.labels.get(label)
            {
                instruction.operands = vec![Operand::Target(target)];
            }
        }
    }

    /// A directive between statements.
    fn directive(&mut self, cursor: &mut Cursor<'_>, frame: &mut Frame<'_>) -> Result<(), Error> {
        let line = cursor.line;
        let outside = || Error::Parse { line, what: "a declaration outside of a body".to_owned() };
        match cursor.word() {
            ".loc" => {
                let (recent, text) = (&mut frame.recent, cursor.until('\n'));
                frame.location = self.body.locations.parse(text, recent, frame.caller);
            }
            ".reg" => {
                let scope = frame.scopes.last_mut().ok_or_else(outside)?;
                scope.declare_registers(&mut self.body.banks, cursor.until(';'), line)?;
            }
            ".shared" => {
                let shared = declared(cursor.until(';'), line)?;
                let name = &shared.variable.name;
                // A function has its shared variables once, however often it is called.
                let unique = match frame.function {
                    Some(function) => format!("{function}.{name}"),
                    None => name.clone(),
                };
                if !self.body.symbols.contains_key(&unique) {
                    self.body.share(&shared, unique.clone());
                }
                frame.scopes.last_mut().ok_or_else(outside)?.name(name, unique);
            }
            ".local" | ".param" => {
                let local = declared(cursor.until(';'), line)?;
                let unique = self.local(&local);
                let scope = frame.scopes.last_mut().ok_or_else(outside)?;
                scope.name(&local.variable.name, unique);
            }
            ".pragma" | ".callprototype" => {
                cursor.until(';');
            }
            other => {
                let what = format!("the directive `{other}` is not supported in a kernel");
                return Err(Error::Parse { line, what });
            }
        }
        Ok(())
    }

    /// A new variable in the thread's local memory: its name among the body's symbols.
    pub fn local(&mut self, variable: &Declared) -> String {
        let name = &variable.variable.name;
        let taken = |name: &String| self.body.symbols.contains_key(name);
        let mut unique = name.clone();
        let mut number = self.expanded;
        while taken(&unique) {
            number += 1;
            unique = format!("{name}#{number}");
        }
        self.local_align = self.local_align.max(variable.align);
        let at = place(&mut self.body.local_bytes, variable);
        self.body.symbols.insert(unique.clone(), Symbol::Local(at));
        self.sizes.insert(unique.clone(), variable.variable.bytes);
        unique
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
