//! Parses PTX text into directives, labels and instructions with resolved registers.

mod body;
mod call;
mod function;
mod location;
mod operand;
mod scope;
mod statement;

pub(crate) use body::{Array, Body, RawInstruction, Symbol};
pub(crate) use operand::Operand;

use crate::error::Error;
use crate::kernel::Variable;
use function::Function;

/// A parsed module.
pub(crate) struct RawModule {
    /// Names of the kernels and, where their text is valid, their bodies.
    pub kernels: Vec<(String, Result<Body, Error>)>,
    pub variables: Vec<Variable>,
    pub files: Vec<(u32, String)>,
}

/// Parses a module. A kernel whose body is not valid has its error; the others are parsed.
pub(crate) fn module(text: &str) -> Result<RawModule, Error> {
    let text = without_comments(text);
    let mut cursor = Cursor { rest: &text, line: 1 };
    check_start(&mut cursor)?;
    let (mut kernels, mut files) = (Vec::new(), Vec::new());
    let mut scope = ModuleScope::default();
    loop {
        cursor.skip_space();
        if cursor.rest.is_empty() {
            break;
        }
        match cursor.word() {
            ".version" | ".target" | ".address_size" | ".pragma" => {
                cursor.until('\n');
            }
            ".file" => files.push(file(&mut cursor)?),
            ".section" => {
                cursor.until('{');
                cursor.until('}');
            }
            ".visible" | ".extern" | ".weak" | ".common" => {}
            ".entry" => kernels.push(Function::new(&mut cursor)?),
            ".func" => {
                let function = Function::new(&mut cursor)?;
                if !function.body.is_empty() {
                    scope.functions.push(function);
                }
            }
            space @ (".global" | ".const" | ".shared") => {
                let line = cursor.line;
                let variable = declared(cursor.until(';'), line)?;
                if space == ".shared" {
                    scope.shared.push(variable);
                } else {
                    scope.variables.push(variable.variable);
                }
            }
            other => {
                let what = format!("got `{other}` outside a kernel, expected a directive");
                return Err(Error::Parse { line: cursor.line, what });
            }
        }
    }
    let kernels = kernels
        .iter()
        .map(|kernel| (kernel.name.to_owned(), body::kernel(kernel, &scope)))
        .collect();
    Ok(RawModule { kernels, variables: scope.variables, files })
}

/// What every kernel of a module can name.
#[derive(Default)]
pub(super) struct ModuleScope<'a> {
    variables: Vec<Variable>,
    shared: Vec<Declared>,
    /// Functions with a body.
    functions: Vec<Function<'a>>,
}

/// Checks that the text starts as PTX does, with its version.
fn check_start(cursor: &mut Cursor<'_>) -> Result<(), Error> {
    cursor.skip_space();
    if cursor.rest.starts_with(".version") {
        return Ok(());
    }
    let got: String = cursor.rest.lines().next().unwrap_or("").chars().take(40).collect();
    let what = format!(
        "the text is not PTX: got {got:?}, expected a `.version` directive first; \
         compile the kernels to PTX (`nvcc --ptx`, or NVRTC without `-dlto`)"
    );
    Err(Error::Parse { line: cursor.line, what })
}

/// The rest of `.file 1 "name"`.
fn file(cursor: &mut Cursor<'_>) -> Result<(u32, String), Error> {
    let line = cursor.line;
    let entry = cursor.until('\n').trim();
    let (number, name) = entry.split_once(char::is_whitespace).unwrap_or((entry, ""));
    let number = number
        .parse()
        .map_err(|_| Error::Parse { line, what: format!("`.file {entry}` has no number") })?;
    Ok((number, name.split('"').nth(1).unwrap_or("").to_owned()))
}

/// A declared variable with its alignment.
pub(crate) struct Declared {
    pub variable: Variable,
    pub align: usize,
    /// The PTX type without its dot.
    pub type_name: String,
    /// Declared without a size; the launch sets it.
    pub unsized_: bool,
}

/// Parses `.align 4 .b8 name[16] = {..}` and shorter forms, without the state space.
pub(crate) fn declared(text: &str, line: usize) -> Result<Declared, Error> {
    let fail = |what: &str| Error::Parse { line, what: format!("`{}`: {what}", text.trim()) };
    let (left, right) = match text.split_once('=') {
        Some((left, right)) => (left, Some(right.trim())),
        None => (text, None),
    };
    let mut words = left.split_whitespace();
    let (mut align, mut size, mut type_name, mut name) = (None, 0, "", "");
    let mut pointer = false;
    while let Some(word) = words.next() {
        match word {
            ".align" => {
                let number = words.next().and_then(|n| n.parse().ok());
                let number = number.ok_or_else(|| fail("no alignment after .align"))?;
                // After .ptr it is the alignment of the memory behind the pointer.
                align = if pointer { align } else { Some(number) };
            }
            ".ptr" => pointer = true,
            ".global" | ".const" | ".shared" | ".local" => {}
            ".v2" | ".v4" => return Err(fail("vector variables are not supported")),
            _ if word.starts_with('.') => {
                type_name = &word[1..];
                let bits: usize = word[2..].parse().map_err(|_| fail("unknown type"))?;
                size = bits / 8;
            }
            _ => name = word,
        }
    }
    if size == 0 || name.is_empty() {
        return Err(fail("expected a type and a name"));
    }
    let (name, mut elements, mut unsized_) = (name.to_owned(), 1usize, false);
    let (name, dimensions) = match name.split_once('[') {
        Some((name, dimensions)) => (name.to_owned(), dimensions.to_owned()),
        None => (name, String::new()),
    };
    for dimension in dimensions.split(['[', ']']).filter(|_| !dimensions.is_empty()) {
        match dimension.trim() {
            "" if dimensions.trim() == "]" => unsized_ = true,
            "" => {}
            number => {
                elements *= number.parse::<usize>().map_err(|_| fail("unknown array size"))?
            }
        }
    }
    let mut initial = Vec::new();
    for value in right.unwrap_or("").split([',', '{', '}']).map(str::trim).filter(|v| !v.is_empty())
    {
        let literal = operand::literal(value)
            .ok_or_else(|| fail("the initial value of a variable is not a number"))?;
        let bits = if type_name.starts_with('f') {
            literal.float_bits(size)
        } else {
            literal.integer_bits()
        };
        initial.extend_from_slice(&bits.to_le_bytes()[..size]);
    }
    let bytes = if unsized_ { 0 } else { size * elements };
    let align = align.unwrap_or(size);
    let type_name = type_name.to_owned();
    Ok(Declared { variable: Variable { name, bytes, initial }, align, type_name, unsized_ })
}

/// Replaces comments by blanks; line numbers stay the same.
fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("//").into_iter().chain(rest.find("/*")).min() {
        out.push_str(&rest[..start]);
        let comment = &rest[start..];
        let end = if comment.starts_with("//") {
            comment.find('\n').unwrap_or(comment.len())
        } else {
            comment.find("*/").map_or(comment.len(), |end| end + 2)
        };
        out.extend(comment[..end].chars().filter(|&c| c == '\n'));
        rest = &comment[end..];
    }
    out.push_str(rest);
    out
}

/// A position in the text.
pub(crate) struct Cursor<'a> {
    pub rest: &'a str,
    pub line: usize,
}

impl<'a> Cursor<'a> {
    /// Advances by `bytes`, at most to the end, and returns the skipped text.
    pub fn advance(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes.min(self.rest.len()));
        self.line += taken.bytes().filter(|&b| b == b'\n').count();
        self.rest = rest;
        taken
    }

    /// Skips white space.
    pub fn skip_space(&mut self) {
        let bytes = self.rest.len() - self.rest.trim_start().len();
        self.advance(bytes);
    }

    /// Returns the next word, which ends before white space, `{`, `(` or `;`.
    pub fn word(&mut self) -> &'a str {
        self.skip_space();
        let end = self.rest.find(|c: char| c.is_whitespace() || "{(;".contains(c));
        self.advance(end.unwrap_or(self.rest.len()).max(1))
    }

    /// Returns the text before `end` and skips `end`.
    pub fn until(&mut self, end: char) -> &'a str {
        let taken = self.advance(self.rest.find(end).unwrap_or(self.rest.len()));
        self.advance(end.len_utf8());
        taken
    }
}
