//! An interpreter for the part of Python's pickle language that builds tensors. No code is run: a program may call only the
//! functions in [`Global`], which are interpreted here; every other name is refused.

use std::collections::HashMap;
use std::sync::Arc;

use super::Number;

/// Longest accepted program, in bytes; the program of 10,000 tensors has about 2 MB.
const LONGEST: usize = 16 << 20;

/// Memory limit of a program: a number of bytes, plus a number for each byte of the program. PyTorch's programs use less
/// than 12 for each.
const MEMORY: usize = 4 << 20;
const MEMORY_FOR_A_BYTE: usize = 16;
/// Memory of a remembered value or mark, of a string's head and of a tensor, in bytes.
const REMEMBERED: usize = 64;
const TEXT: usize = 16;
const TENSOR: usize = 144;

/// A value of a program. Containers are indices into [`Made::objects`], so that deep nesting in a hostile program does not
/// nest in memory.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    /// A floating-point number, or an integer of more than 64 bits, which tensors do not use.
    Float,
    Text(Arc<str>),
    /// Bytes, which tensors do not use.
    Bytes,
    Tuple(usize),
    List(usize),
    Dict(usize),
    Global(Global),
    Storage(Arc<Storage>),
    Tensor(Arc<View>),
}

/// The content of a container.
#[derive(Clone, Debug)]
pub(super) enum Object {
    Sequence(Vec<Value>),
    Dict(Vec<(Value, Value)>),
}

/// A storage: contiguous values in a file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Storage {
    /// Its element type.
    pub(super) number: Number,
    /// Its key.
    pub(super) key: Arc<str>,
    /// Count and offset of a view.
    pub(super) count: usize,
    pub(super) start: usize,
}

/// A tensor as a view of a storage.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct View {
    pub(super) storage: Arc<Storage>,
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

/// The functions and types that a program may use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Global {
    /// `collections.OrderedDict`
    OrderedDict,
    /// `torch._utils._rebuild_tensor` and `_rebuild_tensor_v2`
    Tensor,
    /// `torch._utils._rebuild_parameter`
    Parameter,
    /// `torch.Size`
    Size,
    /// `torch.FloatStorage` and the other storage types.
    Storage(Number),
}

impl Global {
    fn named(module: &str, name: &str) -> Option<Self> {
        Some(match (module, name) {
            ("collections", "OrderedDict") => Global::OrderedDict,
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Global::Tensor,
            ("torch._utils", "_rebuild_parameter") => Global::Parameter,
            ("torch", "Size") => Global::Size,
            ("torch", "DoubleStorage") => Global::Storage(Number::F64),
            ("torch", "FloatStorage") => Global::Storage(Number::F32),
            ("torch", "HalfStorage") => Global::Storage(Number::F16),
            ("torch", "BFloat16Storage") => Global::Storage(Number::Bf16),
            ("torch", "LongStorage") => Global::Storage(Number::I64),
            ("torch", "IntStorage") => Global::Storage(Number::I32),
            ("torch", "ShortStorage") => Global::Storage(Number::I16),
            ("torch", "CharStorage") => Global::Storage(Number::I8),
            ("torch", "ByteStorage") => Global::Storage(Number::U8),
            ("torch", "BoolStorage") => Global::Storage(Number::Bool),
            _ => return None,
        })
    }
}

/// The result of a program.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) value: Value,
    pub(super) objects: Vec<Object>,
    /// Length of the program in bytes.
    pub(super) length: usize,
}

impl Made {
    /// The items of a list or tuple.
    pub(super) fn sequence(&self, value: &Value) -> Option<&[Value]> {
        sequence(&self.objects, value)
    }

    /// The pairs of a dictionary.
    pub(super) fn dict(&self, value: &Value) -> Option<&[(Value, Value)]> {
        match value {
            Value::Dict(at) => match &self.objects[*at] {
                Object::Dict(pairs) => Some(pairs),
                Object::Sequence(_) => None,
            },
            _ => None,
        }
    }
}

fn sequence<'a>(objects: &'a [Object], value: &Value) -> Option<&'a [Value]> {
    match value {
        Value::Tuple(at) | Value::List(at) => match &objects[*at] {
            Object::Sequence(items) => Some(items),
            Object::Dict(_) => None,
        },
        _ => None,
    }
}

/// Why a program was refused.
pub(super) type Refusal = String;

/// Interprets the program at the start of `bytes`: tensors, numbers, strings and containers of them.
///
/// # Errors
/// The operation that is not allowed, or the damage.
pub(super) fn read(bytes: &[u8]) -> Result<Made, Refusal> {
    let bytes = &bytes[..bytes.len().min(LONGEST)];
    let mut machine = Machine { bytes, ..Machine::default() };
    while !machine.done {
        let at = machine.at;
        let step = machine.step().and_then(|()| machine.check_memory());
        step.map_err(|what| format!("{what} (at byte {at} of its pickle)"))?;
    }
    let value = machine.pop()?;
    Ok(Made { value, objects: machine.objects, length: machine.at })
}

#[derive(Default)]
struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Value>,
    /// Height of the stack at each open mark.
    marks: Vec<usize>,
    memo: HashMap<u64, Value>,
    objects: Vec<Object>,
    done: bool,
    /// Items copied so far.
    copied: usize,
    /// Memory of everything but the stack, in bytes.
    used: usize,
}

impl<'a> Machine<'a> {
    /// Refuses a program that uses more memory than one of its length needs.
    fn check_memory(&self) -> Result<(), Refusal> {
        let stack = size_of_val(&self.stack[..]) + REMEMBERED * self.marks.len();
        match self.used + stack > MEMORY + MEMORY_FOR_A_BYTE * self.at {
            true => Err("it makes more than it holds".into()),
            false => Ok(()),
        }
    }

    /// Keeps a container; returns its index.
    fn keep(&mut self, object: Object) -> usize {
        let items = match &object {
            Object::Sequence(items) => size_of_val(&items[..]),
            Object::Dict(pairs) => size_of_val(&pairs[..]),
        };
        self.used += size_of::<Object>() + items;
        self.objects.push(object);
        self.objects.len() - 1
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Refusal> {
        let end = self.at.checked_add(count).filter(|&end| end <= self.bytes.len());
        let Some(end) = end else {
            return Err("it is cut short".into());
        };
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn skip(&mut self, count: usize) -> Result<(), Refusal> {
        self.take(count).map(|_| ())
    }

    /// A little-endian number of `bytes` bytes, at most 8.
    fn number(&mut self, count: usize) -> Result<u64, Refusal> {
        Ok(self.take(count)?.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    fn length(&mut self, count: usize) -> Result<usize, Refusal> {
        let length = self.number(count)?;
        usize::try_from(length).map_err(|_| "it is cut short".into())
    }

    fn text(&mut self, length: usize) -> Result<Value, Refusal> {
        let text: Arc<str> = String::from_utf8_lossy(self.take(length)?).into();
        self.used += TEXT + text.len();
        Ok(Value::Text(text))
    }

    fn line(&mut self) -> Result<&'a str, Refusal> {
        let rest = &self.bytes[self.at..];
        let length = memchr::memchr(b'\n', rest).ok_or("it is cut short")?;
        self.at += length + 1;
        std::str::from_utf8(&rest[..length]).map_err(|_| "a name in it is no text".into())
    }

    fn pop(&mut self) -> Result<Value, Refusal> {
        if self.marks.last().is_some_and(|&mark| mark >= self.stack.len()) {
            return Err("it takes from below a mark".into());
        }
        self.stack.pop().ok_or_else(|| "it takes from an empty stack".into())
    }

    fn pop_mark(&mut self) -> Result<Vec<Value>, Refusal> {
        let mark = self.marks.pop().ok_or("it goes back to a mark that it never made")?;
        Ok(self.stack.split_off(mark))
    }

    fn top(&self) -> Result<Value, Refusal> {
        self.stack.last().cloned().ok_or_else(|| "it looks at an empty stack".into())
    }

    /// Pushes a list or a tuple of these items.
    fn push_sequence(&mut self, kind: fn(usize) -> Value, items: Vec<Value>) {
        let at = self.keep(Object::Sequence(items));
        self.stack.push(kind(at));
    }

    fn push_tuple(&mut self, count: usize) -> Result<(), Refusal> {
        let mut items = (0..count).map(|_| self.pop()).collect::<Result<Vec<_>, _>>()?;
        items.reverse();
        self.push_sequence(Value::Tuple, items);
        Ok(())
    }

    fn push_dict(&mut self, items: Vec<Value>) -> Result<(), Refusal> {
        let at = self.keep(Object::Dict(pairs(items)?));
        self.stack.push(Value::Dict(at));
        Ok(())
    }

    /// Appends to the list on top of the stack.
    fn extend(&mut self, items: Vec<Value>) -> Result<(), Refusal> {
        self.used += size_of_val(&items[..]);
        match self.top()? {
            Value::List(at) => match &mut self.objects[at] {
                Object::Sequence(list) => list.extend(items),
                Object::Dict(_) => return Err("it appends to what is no list".into()),
            },
            _ => return Err("it appends to what is no list".into()),
        }
        Ok(())
    }

    /// Puts keys and values into the dictionary on top of the stack.
    fn insert(&mut self, items: Vec<Value>) -> Result<(), Refusal> {
        self.used += size_of_val(&items[..]);
        let Value::Dict(at) = self.top()? else {
            return Err("it sets items of what is no dictionary".into());
        };
        if let Object::Dict(dict) = &mut self.objects[at] {
            dict.extend(pairs(items)?);
        }
        Ok(())
    }

    fn remember(&mut self, key: u64) -> Result<(), Refusal> {
        let value = self.top()?;
        self.used += REMEMBERED;
        self.memo.insert(key, value);
        Ok(())
    }

    fn recall(&mut self, key: u64) -> Result<(), Refusal> {
        let value = self.memo.get(&key).cloned();
        self.stack.push(value.ok_or("it recalls what it never stored")?);
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) -> Result<(), Refusal> {
        let Some(global) = Global::named(module, name) else {
            let short = |text: &str| text.chars().take(60).collect::<String>();
            return Err(format!(
                "it asks for `{}.{}`, which weights have no need of and which is never run here",
                short(module),
                short(name)
            ));
        };
        self.stack.push(Value::Global(global));
        Ok(())
    }

    fn step(&mut self) -> Result<(), Refusal> {
        match self.take(1)?[0] {
            // The protocol and the length of a frame are not needed.
            0x80 => self.skip(1)?,
            0x95 => self.skip(8)?,
            b'.' => self.done = true,
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_mark()?),
            b'N' => self.stack.push(Value::None),
            0x88 => self.stack.push(Value::Bool(true)),
            0x89 => self.stack.push(Value::Bool(false)),
            b'J' => {
                let number = self.number(4)? as u32 as i32;
                self.stack.push(Value::Int(number.into()));
            }
            b'K' => self.whole(1)?,
            b'M' => self.whole(2)?,
            0x8a => {
                let length = self.length(1)?;
                self.long(length)?;
            }
            b'G' => {
                self.skip(8)?;
                self.stack.push(Value::Float);
            }
            b'X' => self.push_text(4)?,
            0x8c => self.push_text(1)?,
            0x8d => self.push_text(8)?,
            b'U' => self.push_text(1)?,
            b'T' => self.push_text(4)?,
            b'C' => self.push_bytes(1)?,
            b'B' => self.push_bytes(4)?,
            0x8e => self.push_bytes(8)?,
            b')' => self.push_tuple(0)?,
            0x85 => self.push_tuple(1)?,
            0x86 => self.push_tuple(2)?,
            0x87 => self.push_tuple(3)?,
            b't' => {
                let items = self.pop_mark()?;
                self.push_sequence(Value::Tuple, items);
            }
            b']' => self.push_sequence(Value::List, Vec::new()),
            b'l' => {
                let items = self.pop_mark()?;
                self.push_sequence(Value::List, items);
            }
            b'a' => {
                let item = self.pop()?;
                self.extend(vec![item])?;
            }
            b'e' => {
                let items = self.pop_mark()?;
                self.extend(items)?;
            }
            b'}' => self.push_dict(Vec::new())?,
            b'd' => {
                let items = self.pop_mark()?;
                self.push_dict(items)?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.insert(vec![key, value])?;
            }
            b'u' => {
                let items = self.pop_mark()?;
                self.insert(items)?;
            }
            b'q' => {
                let key = self.number(1)?;
                self.remember(key)?;
            }
            b'r' => {
                let key = self.number(4)?;
                self.remember(key)?;
            }
            0x94 => self.remember(self.memo.len() as u64)?,
            b'h' => {
                let key = self.number(1)?;
                self.recall(key)?;
            }
            b'j' => {
                let key = self.number(4)?;
                self.recall(key)?;
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(module, name)?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Value::Text(module), Value::Text(name)) = (module, name) else {
                    return Err("a name in it is no text".into());
                };
                self.global(&module, &name)?;
            }
            b'R' => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                let value = self.call(&function, &arguments)?;
                self.stack.push(value);
            }
            // Attributes of a dictionary, such as the versions of a network's layers.
            b'b' => {
                self.pop()?;
                if !matches!(self.top()?, Value::Dict(_)) {
                    return Err("it changes what is no dictionary".into());
                }
            }
            b'Q' => {
                let id = self.pop()?;
                let storage = self.storage(&id)?;
                self.used += size_of::<Storage>();
                self.stack.push(Value::Storage(Arc::new(storage)));
            }
            other => return Err(format!("it has the unknown instruction {other:#04x}")),
        }
        Ok(())
    }

    fn whole(&mut self, bytes: usize) -> Result<(), Refusal> {
        let number = self.number(bytes)?;
        self.stack.push(Value::Int(number as i64));
        Ok(())
    }

    /// A signed number of at most 16 bytes.
    fn long(&mut self, length: usize) -> Result<(), Refusal> {
        let bytes = self.take(length)?;
        if length > 16 {
            return Err(format!("it has a number of {length} bytes"));
        }
        let negative = bytes.last().is_some_and(|&byte| byte & 0x80 != 0);
        let mut all = [if negative { 0xff } else { 0 }; 16];
        all[..length].copy_from_slice(bytes);
        self.stack.push(i64::try_from(i128::from_le_bytes(all)).map_or(Value::Float, Value::Int));
        Ok(())
    }

    /// A string after its length, which has this many bytes.
    fn push_text(&mut self, bytes: usize) -> Result<(), Refusal> {
        let length = self.length(bytes)?;
        let text = self.text(length)?;
        self.stack.push(text);
        Ok(())
    }

    fn push_bytes(&mut self, bytes: usize) -> Result<(), Refusal> {
        let length = self.length(bytes)?;
        self.skip(length)?;
        self.stack.push(Value::Bytes);
        Ok(())
    }

    /// `function(*arguments)` of an allowed function.
    fn call(&mut self, function: &Value, arguments: &Value) -> Result<Value, Refusal> {
        let Value::Global(global) = function else {
            return Err("it calls what is no function".into());
        };
        let Value::Tuple(_) = arguments else {
            return Err("it calls without a tuple of arguments".into());
        };
        let arguments = sequence(&self.objects, arguments).unwrap_or_default();
        self.copied += arguments.len();
        if let (Global::OrderedDict, Some(items)) = (global, arguments.first()) {
            self.copied += sequence(&self.objects, items).map_or(0, <[Value]>::len);
        }
        // Copied items were built by at least one byte each; more copies than bytes mean repeated use of one container.
        if self.copied > self.bytes.len() {
            return Err("it makes more than it holds".into());
        }
        let arguments = arguments.to_vec();
        match (global, &arguments[..]) {
            (Global::OrderedDict, items) => {
                let mut pairs = Vec::new();
                for item in
                    items.first().and_then(|i| sequence(&self.objects, i)).unwrap_or_default()
                {
                    match sequence(&self.objects, item) {
                        Some([key, value]) => pairs.push((key.clone(), value.clone())),
                        _ => return Err("it makes a dictionary of what are no pairs".into()),
                    }
                }
                Ok(Value::Dict(self.keep(Object::Dict(pairs))))
            }
            (Global::Tensor, [Value::Storage(storage), Value::Int(offset), shape, strides, ..]) => {
                let (shape, strides) = (self.sizes(shape)?, self.sizes(strides)?);
                let offset =
                    usize::try_from(*offset).map_err(|_| "a tensor starts before its numbers")?;
                if shape.len() != strides.len() {
                    return Err("a tensor has sizes and steps of other counts".into());
                }
                self.used += TENSOR + size_of_val(&shape[..]) + size_of_val(&strides[..]);
                Ok(Value::Tensor(Arc::new(View {
                    storage: storage.clone(),
                    offset,
                    shape,
                    strides,
                })))
            }
            (Global::Parameter, [tensor @ Value::Tensor(_), ..]) => Ok(tensor.clone()),
            (Global::Size, [sizes @ Value::Tuple(_)]) => Ok(sizes.clone()),
            _ => Err("it calls a function with arguments that it does not take".into()),
        }
    }

    fn sizes(&self, value: &Value) -> Result<Vec<usize>, Refusal> {
        let items = sequence(&self.objects, value).ok_or("a tensor's sizes are no tuple")?;
        let size = |item: &Value| match item {
            Value::Int(size) => usize::try_from(*size).ok(),
            _ => None,
        };
        let few = Some(items).filter(|items| items.len() <= 32);
        let sizes: Option<Vec<usize>> = few.and_then(|items| items.iter().map(size).collect());
        sizes.ok_or_else(|| "a tensor's sizes are no sizes".into())
    }

    /// The value of a persistent id: `("storage", type, key, device, count)`, in the legacy format with a view
    /// `(key, start, count)` or `None`.
    fn storage(&self, id: &Value) -> Result<Storage, Refusal> {
        let strange = || String::from("it names numbers in a way that is not understood");
        let items = sequence(&self.objects, id).ok_or_else(strange)?;
        let [
            Value::Text(kind),
            Value::Global(Global::Storage(number)),
            Value::Text(key),
            _,
            rest @ ..,
        ] = items
        else {
            return Err(strange());
        };
        let (count, start) = match rest {
            [Value::Int(count)] | [Value::Int(count), Value::None] => (*count, 0),
            [Value::Int(_), view] => match sequence(&self.objects, view) {
                Some([_, Value::Int(start), Value::Int(count)]) => (*count, *start),
                _ => return Err(strange()),
            },
            _ => return Err(strange()),
        };
        let size = |number: i64| usize::try_from(number).map_err(|_| strange());
        if &**kind != "storage" {
            return Err(strange());
        }
        Ok(Storage { number: *number, key: key.clone(), count: size(count)?, start: size(start)? })
    }
}

/// Alternating keys and values.
fn pairs(items: Vec<Value>) -> Result<Vec<(Value, Value)>, Refusal> {
    if !items.len().is_multiple_of(2) {
        return Err("a dictionary has a key without a value".into());
    }
    let mut items = items.into_iter();
    let mut pairs = Vec::new();
    while let (Some(key), Some(value)) = (items.next(), items.next()) {
        pairs.push((key, value));
    }
    Ok(pairs)
}
