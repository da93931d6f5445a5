//! Arguments become a parameter space and allocations.

use ptx_sim::{Kernel, Memory, Parameter};

use crate::argument::{Argument, Value};
use crate::element::Element;
use crate::failure::Failure;

/// A buffer of an argument.
pub struct Buffer {
    /// The index of its argument.
    pub argument: usize,
    /// The index of its field in the argument.
    pub field: usize,
    /// The type of its elements.
    pub element: Element,
    /// Its number of elements.
    pub count: usize,
    /// Its address.
    pub address: u64,
}

/// The arguments in the memory of the simulator.
pub struct Arguments {
    /// The parameter space.
    pub parameters: Vec<u8>,
    /// The buffers, in the order of the command line.
    pub buffers: Vec<Buffer>,
}

/// Allocates the buffers and fills the parameter space of a kernel.
pub fn place(
    kernel: &Kernel,
    arguments: &[Argument],
    memory: &mut Memory,
) -> Result<Arguments, Failure> {
    let expected = kernel.parameters();
    let refuse = |what: String| Failure::usage(format!("{what}\n{}", listed(kernel)));
    if arguments.len() != expected.len() {
        return Err(refuse(format!(
            "kernel {}: got {} arguments, expected {}; give one --arg for each parameter",
            kernel.name(),
            arguments.len(),
            expected.len()
        )));
    }
    let mut placed =
        Arguments { parameters: vec![0; kernel.parameter_bytes()], buffers: Vec::new() };
    let mut all = Vec::new();
    for (index, (argument, parameter)) in arguments.iter().zip(expected).enumerate() {
        let offsets = offsets(argument, parameter).map_err(|what| {
            refuse(format!(
                "kernel {}: argument {index} is `{}`: {what}",
                kernel.name(),
                argument.text
            ))
        })?;
        all.push(offsets);
    }
    for (index, argument) in arguments.iter().enumerate() {
        for (field, value) in argument.fields.iter().enumerate() {
            let bytes = match value {
                Value::Number(_, bytes) | Value::Bytes(bytes) => bytes.clone(),
                Value::Buffer(element, contents) => {
                    let (count, filled) = contents.load(*element)?;
                    let label = match argument.fields.len() {
                        1 => format!("argument {index}"),
                        _ => format!("argument {index}.{field}"),
                    };
                    let address = memory.allocate(count * element.bytes(), &label);
                    if let Some(filled) = filled {
                        memory.write(address, &filled)?;
                    }
                    let element = *element;
                    placed.buffers.push(Buffer { argument: index, field, element, count, address });
                    address.to_le_bytes().to_vec()
                }
            };
            let at = all[index][field];
            placed.parameters[at..at + bytes.len()].copy_from_slice(&bytes);
        }
    }
    Ok(placed)
}

/// Bytes and alignment of a value.
fn size(value: &Value) -> (usize, usize) {
    match value {
        Value::Number(element, _) => (element.bytes(), element.bytes()),
        Value::Bytes(bytes) => (bytes.len(), 1),
        Value::Buffer(..) => (8, 8),
    }
}

/// The offset of each field of an argument in the parameter space.
fn offsets(argument: &Argument, parameter: &Parameter) -> Result<Vec<usize>, String> {
    let kind = parameter.type_name.as_str();
    let wants = format!("expected {}", described(parameter));
    if let [value] = argument.fields.as_slice() {
        let fits = match value {
            Value::Bytes(_) => true,
            Value::Number(element, _) => {
                kind.starts_with('b') || element.is_float() == kind.starts_with('f')
            }
            Value::Buffer(..) => !kind.starts_with('f'),
        };
        if !fits {
            return Err(wants);
        }
    } else if kind != "b8" {
        return Err(format!("got {} fields, {wants}", argument.fields.len()));
    }
    let (mut offsets, mut end) = (Vec::new(), 0usize);
    let mut align = 1;
    for value in &argument.fields {
        let (bytes, step) = size(value);
        let at = end.next_multiple_of(step);
        offsets.push(parameter.offset + at);
        end = at + bytes;
        align = align.max(step);
    }
    let total = end.next_multiple_of(align);
    if total != parameter.bytes {
        return Err(format!("got {total} bytes, {wants}"));
    }
    Ok(offsets)
}

/// A parameter's type and size.
fn described(parameter: &Parameter) -> String {
    match parameter.type_name.as_str() {
        "b8" => format!(
            "a struct of {} bytes (fields with commas between them, or bytes:HEX)",
            parameter.bytes
        ),
        "u64" | "s64" | "b64" => format!("{} (a buffer or an integer)", parameter.type_name),
        name => name.to_owned(),
    }
}

/// The parameters that a kernel expects, one a line.
pub fn listed(kernel: &Kernel) -> String {
    let mut text = format!("the parameters of {}:", kernel.name());
    for (index, parameter) in kernel.parameters().iter().enumerate() {
        text.push_str(&format!("\n  {index}  {}", described(parameter)));
    }
    if kernel.parameters().is_empty() {
        text.push_str(" none");
    }
    text
}
