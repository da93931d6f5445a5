//! The command line.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Parser;
use ptx_sim::{Kernel, Order};

use crate::argument::Argument;
use crate::failure::Failure;
use crate::layout::{self, Buffer};

/// Runs a kernel of a PTX file on the CPU and checks every access: races, bounds, uninitialised
/// reads, barriers.
///
/// Exit codes: 0 no finding, 1 findings or the step limit, 2 usage, 65 wrong content of a file, 66 missing
/// file, 74 a file that cannot be read or written.
#[derive(Debug, Parser)]
#[command(name = "ptx-sim", version)]
pub struct Options {
    /// The PTX file, as nvcc -ptx or NVRTC write it; -lineinfo gives findings a source line.
    pub file: PathBuf,
    /// The kernel's name in the PTX; needed when the file has several kernels.
    #[arg(long, value_name = "NAME")]
    pub kernel: Option<String>,
    /// Blocks along x, y and z; 1 where left out.
    #[arg(long, value_name = "X,Y,Z", required_unless_present = "list")]
    pub grid: Option<Extent>,
    /// Threads of a block along x, y and z; 1 where left out.
    #[arg(long, value_name = "X,Y,Z", required_unless_present = "list")]
    pub block: Option<Extent>,
    /// Bytes of dynamic shared memory.
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub shared: u32,
    /// The value of a parameter; once for each, in the kernel's order.
    ///
    /// TYPE:NUMBER, with TYPE one of u8, s8, u16, s16, u32, s32, u64, s64, f32, f64. buffer:TYPE:COUNT is a new
    /// uninitialised allocation; =NUMBER after it sets every element, =range 0, 1, 2 and so on,
    /// =random:SEED floats in -1..1 or integers of any value. buffer:TYPE=@FILE has the bytes of a file.
    /// bytes:HEX gives bytes as they are. The fields of a struct have commas between them.
    #[arg(long = "arg", value_name = "VALUE", allow_hyphen_values = true)]
    pub arguments: Vec<Argument>,
    /// The order of the blocks: forward, reversed or seed:N.
    #[arg(long, value_name = "ORDER", default_value = "forward")]
    pub order: RunOrder,
    /// The order in which the warps of a block have their turns: forward, reversed or seed:N.
    #[arg(long, value_name = "ORDER", default_value = "forward")]
    pub warps: RunOrder,
    /// Check bounds and alignment only; blocks run in parallel.
    #[arg(long)]
    pub values: bool,
    /// Stop after this many warp instructions.
    #[arg(long, value_name = "N")]
    pub steps: Option<u64>,
    /// Print the buffer of an argument (0 is the first; 2.1 is field 1 of argument 2) after the run.
    #[arg(long, value_name = "ARGUMENT[:COUNT]")]
    pub print: Vec<Print>,
    /// Write the bytes of an argument's buffer to a file after the run.
    #[arg(long, value_name = "ARGUMENT=FILE")]
    pub write: Vec<Write>,
    /// Print the counters of every source line.
    #[arg(long)]
    pub counters: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// List the kernels of the file with their parameters, and run none.
    #[arg(long)]
    pub list: bool,
}

/// A size along x, y and z.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extent(pub [u32; 3]);

impl FromStr for Extent {
    type Err = String;

    fn from_str(text: &str) -> Result<Extent, String> {
        let fail = || format!("got `{text}`, expected one to three whole numbers, such as 4,1,1");
        let mut extent = [1; 3];
        let numbers: Vec<&str> = text.split(',').collect();
        if numbers.len() > 3 {
            return Err(fail());
        }
        for (axis, number) in extent.iter_mut().zip(numbers) {
            *axis = number.parse().map_err(|_| fail())?;
        }
        Ok(Extent(extent))
    }
}

/// An order of blocks or warps.
#[derive(Debug, Clone, Copy)]
pub struct RunOrder(pub Order);

impl FromStr for RunOrder {
    type Err = String;

    fn from_str(text: &str) -> Result<RunOrder, String> {
        let seeded = || text.strip_prefix("seed:")?.parse().ok().map(Order::Seeded);
        match text {
            "forward" => Ok(RunOrder(Order::Forward)),
            "reversed" => Ok(RunOrder(Order::Reversed)),
            _ => seeded()
                .map(RunOrder)
                .ok_or_else(|| format!("got `{text}`, expected forward, reversed or seed:N")),
        }
    }
}

/// An argument or a field of one.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// The index of the argument.
    pub argument: usize,
    /// The index of the field, 0 in an argument without fields.
    pub field: usize,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Place, String> {
        let fail =
            |_| format!("got the argument `{text}`, expected an index from 0, such as 2 or 2.1");
        let (argument, field) = text.split_once('.').unwrap_or((text, "0"));
        Ok(Place { argument: argument.parse().map_err(fail)?, field: field.parse().map_err(fail)? })
    }
}

impl Place {
    /// The buffer at this place.
    pub fn buffer<'a>(
        &self,
        kernel: &Kernel,
        buffers: &'a [Buffer],
    ) -> Result<&'a Buffer, Failure> {
        let here = |b: &&Buffer| b.argument == self.argument && b.field == self.field;
        buffers.iter().find(here).ok_or_else(|| {
            Failure::usage(format!(
                "argument {}.{} is not a buffer; name one that --arg gives as buffer:\n{}",
                self.argument,
                self.field,
                layout::listed(kernel)
            ))
        })
    }
}

/// A buffer to print.
#[derive(Debug, Clone)]
pub struct Print {
    /// Its argument.
    pub place: Place,
    /// The most elements to print.
    pub count: Option<usize>,
}

impl FromStr for Print {
    type Err = String;

    fn from_str(text: &str) -> Result<Print, String> {
        let Some((place, count)) = text.split_once(':') else {
            return Ok(Print { place: text.parse()?, count: None });
        };
        let number =
            count.parse().map_err(|_| format!("got the count `{count}`, expected a number"))?;
        Ok(Print { place: place.parse()?, count: Some(number) })
    }
}

/// A buffer to write.
#[derive(Debug, Clone)]
pub struct Write {
    /// Its argument.
    pub place: Place,
    /// The file.
    pub file: PathBuf,
}

impl FromStr for Write {
    type Err = String;

    fn from_str(text: &str) -> Result<Write, String> {
        match text.split_once('=') {
            Some((place, file)) if !file.is_empty() => {
                Ok(Write { place: place.parse()?, file: file.into() })
            }
            _ => Err(format!("got `{text}`, expected ARGUMENT=FILE")),
        }
    }
}
