//! Calls, expanded into the caller: each has registers, labels and local variables of its own.

use super::body::{Frame, Parser, RawInstruction};
use super::function::Function;
use super::operand::{Literal, Operand};
use super::scope::{Scope, find};
use super::statement::{Head, head, scoped, split_operands};
use super::{Declared, declared};
use crate::error::Error;
use crate::kernel::{Bank, Register, Variable};

/// The most expanded calls of a kernel.
const MOST_CALLS: usize = 10_000;

/// A call: its text in parts.
struct Call<'t> {
    returns: Vec<&'t str>,
    name: &'t str,
    arguments: Vec<&'t str>,
    /// A list of targets or a prototype, behind the arguments of a call through a register.
    indirect: bool,
}

impl<'t> Call<'t> {
    /// Parses `(ret), name, (a, b)` and shorter forms.
    fn new(text: &'t str) -> Option<Call<'t>> {
        let mut parts = split_operands(text).into_iter().peekable();
        let list = |part: &'t str| {
            split_operands(part.trim_start_matches('(').trim_end_matches(')').trim())
        };
        let returns = parts.next_if(|part| part.starts_with('(')).map_or(Vec::new(), list);
        let name = parts.next()?;
        let arguments = parts.next_if(|part| part.starts_with('(')).map_or(Vec::new(), list);
        Some(Call { returns, name, arguments, indirect: parts.next().is_some() })
    }
}

/// The moves of a call's arguments before the function, or of its results after it.
type Moves = Vec<(String, Vec<Operand>)>;

impl<'a> Parser<'a> {
    /// Expands a call; an unsupported one becomes an instruction that is unknown to the decoder.
    pub fn call(&mut self, statement: &str, frame: &Frame<'a>, line: usize) -> Result<(), Error> {
        let head = head(statement, &frame.scopes, line)?;
        let fail = |what| Error::Parse { line, what: format!("`{}`: {what}", head.text) };
        let call = Call::new(&head.text[head.rest..])
            .ok_or_else(|| fail("expected the name of a function".to_owned()))?;
        let function = self.module.functions.iter().find(|f| f.name == call.name);
        let problem = match (function, call.name) {
            _ if call.indirect || find(&frame.scopes, call.name).is_some() => {
                " (a call through a register)"
            }
            (Some(_), name) if self.active.contains(&name) => " (a recursive call)",
            (Some(function), _) => {
                return self.guarded(function, &call, frame, &head, line).map_err(
                    |error| match error {
                        Failure::Here(what) => fail(what),
                        Failure::Inside(error) => error,
                    },
                );
            }
            (None, "vprintf") => {
                // Nothing is printed; the result is the number of arguments printed.
                for name in &call.returns {
                    let target = scoped(name, &frame.scopes).map_err(fail)?;
                    let zero = Operand::Literal(Literal::Integer(0));
                    let store = ("st.param.b32".to_owned(), vec![at(target), zero]);
                    self.push(head.guard, store, &head.text, (frame, line));
                }
                return Ok(());
            }
            (None, "__assertfail") => "",
            (None, _) => " (a function that is not in the module)",
        };
        let instruction = (head.opcode, vec![Operand::Symbol(call.name.to_owned())]);
        let text = format!("{}{problem}", head.text);
        self.push(head.guard, instruction, &text, (frame, line));
        Ok(())
    }

    /// Adds an instruction that a call stands for.
    fn push(
        &mut self,
        guard: Option<(Register, bool)>,
        (opcode, operands): (String, Vec<Operand>),
        text: &str,
        (frame, line): (&Frame<'_>, usize),
    ) {
        let (text, location) = (text.to_owned(), frame.location);
        self.body.instructions.push(RawInstruction {
            guard,
            opcode,
            operands,
            text,
            location,
            line,
        });
    }

    /// Expands a call; the lanes that its guard excludes jump over it.
    fn guarded(
        &mut self,
        function: &'a Function<'a>,
        call: &Call<'_>,
        frame: &Frame<'a>,
        head: &Head,
        line: usize,
    ) -> Result<(), Failure> {
        self.expanded += 1;
        if self.expanded > MOST_CALLS {
            let what = format!("the kernel expands to more than {MOST_CALLS} calls");
            return Err(Failure::Here(what));
        }
        let jump = self.body.instructions.len();
        if let Some((register, negated)) = head.guard {
            let branch = ("bra".to_owned(), Vec::new());
            self.push(Some((register, !negated)), branch, &head.text, (frame, line));
        }
        let mut scope = Scope::default();
        let before = self.pass(function, &call.arguments, frame, &mut scope, false)?;
        let after = self.pass(function, &call.returns, frame, &mut scope, true)?;
        for instruction in before {
            self.push(None, instruction, &head.text, (frame, line));
        }
        self.active.push(function.name);
        let inner = Frame {
            function: Some(function.name),
            scopes: vec![scope],
            location: frame.location,
            caller: frame.location,
            ..Frame::default()
        };
        self.statements(function, inner)?;
        self.active.pop();
        for instruction in after {
            self.push(None, instruction, &head.text, (frame, line));
        }
        if head.guard.is_some() {
            let end = self.body.instructions.len();
            self.body.instructions[jump].operands = vec![Operand::Target(end)];
        }
        Ok(())
    }

    /// Declares a function's parameters, or its results, and gives the moves that pass them.
    fn pass(
        &mut self,
        function: &Function<'_>,
        actuals: &[&str],
        frame: &Frame<'_>,
        scope: &mut Scope,
        returned: bool,
    ) -> Result<Moves, Failure> {
        let formals = split_operands(if returned { function.returns } else { function.parameters });
        if formals.len() != actuals.len() {
            let (expected, got) = (formals.len(), actuals.len());
            let what = if returned { "results" } else { "arguments" };
            return Err(Failure::Here(format!("got {got} {what}, expected {expected}")));
        }
        let mut moves = Moves::new();
        for (formal, actual) in formals.into_iter().zip(actuals) {
            let actual = scoped(actual, &frame.scopes)?;
            let (space, declaration) =
                formal.split_once(char::is_whitespace).unwrap_or((formal, ""));
            if space == ".reg" {
                scope.declare_registers(&mut self.body.banks, declaration, function.line)?;
                let name = declaration.split_whitespace().last().unwrap_or("");
                let register = find(std::slice::from_ref(scope), name)
                    .ok_or_else(|| format!("`{declaration}` declares no register"))?;
                let kind = match register.bank {
                    Bank::Predicate => "pred",
                    Bank::Half => "b16",
                    Bank::Word => "b32",
                    Bank::Long => "b64",
                };
                let own = Operand::Register(register);
                let pair = if returned { vec![actual, own] } else { vec![own, actual] };
                moves.push((format!("mov.{kind}"), pair));
                continue;
            }
            let formal = declared(declaration, function.line)?;
            let unique = self.argument(&formal, &actual)?;
            if !matches!(actual, Operand::Symbol(_)) {
                let (own, bits) = (at(Operand::Symbol(unique.clone())), 8 * formal.variable.bytes);
                moves.push(match returned {
                    true => (format!("ld.param.b{bits}"), vec![actual, own]),
                    false => (format!("st.param.b{bits}"), vec![own, actual]),
                });
            }
            scope.name(&formal.variable.name, unique);
        }
        Ok(moves)
    }

    /// The variable of a parameter in the `.param` space: the caller's own, or for a register or a
    /// number a new one.
    fn argument(&mut self, formal: &Declared, actual: &Operand) -> Result<String, String> {
        let Operand::Symbol(name) = actual else {
            let Variable { name, bytes, .. } = &formal.variable;
            if !matches!(bytes, 1 | 2 | 4 | 8) {
                return Err(format!("`{name}` has {bytes} bytes and cannot be a register"));
            }
            return Ok(self.local(formal));
        };
        let (expected, got) = (formal.variable.bytes, self.sizes.get(name));
        match got {
            Some(&got) if got >= expected => Ok(name.clone()),
            Some(got) => Err(format!("`{name}` has {got} bytes, expected {expected}")),
            None => Err(format!("`{name}` is not a variable of the .param space")),
        }
    }
}

/// The address of a variable.
fn at(variable: Operand) -> Operand {
    Operand::Address(Some(Box::new(variable)), 0)
}

/// Why a call cannot be expanded.
enum Failure {
    /// The call does not fit the function.
    Here(String),
    /// The function's text is not valid.
    Inside(Error),
}

impl From<String> for Failure {
    fn from(what: String) -> Failure {
        Failure::Here(what)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Inside(error)
    }
}
