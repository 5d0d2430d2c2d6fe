//! Variants of the graphs of a model in the hub's layout, which differ in how numbers are stored.

use std::fmt::{self, Display};
use std::str::FromStr;

/// The subfolder of the graphs.
pub(crate) const GRAPHS: &str = "onnx";

/// Which variant of the graphs is run, by the end of their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floats: no suffix.
    Fp32,
    /// 16-bit floats: `_fp16`.
    Fp16,
    /// Weights of 8 bits with a sign: `_int8`.
    Int8,
    /// Weights of 8 bits without a sign: `_uint8`.
    Uint8,
    /// Weights of 8 bits, as the makers chose them: `_quantized`.
    Quantized,
    /// Weights of 4 bits: `_q4`.
    Q4,
    /// Weights of 4 bits, and 16-bit floats: `_q4f16`.
    Q4f16,
    /// Weights of 4 bits in the format of bitsandbytes: `_bnb4`.
    Bnb4,
}

impl Precision {
    /// All variants, in the order in which one is chosen where the user names none.
    pub const ALL: [Precision; 8] = [
        Precision::Fp32,
        Precision::Int8,
        Precision::Quantized,
        Precision::Uint8,
        Precision::Q4,
        Precision::Bnb4,
        Precision::Fp16,
        Precision::Q4f16,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Precision::Fp32 => "fp32",
            Precision::Fp16 => "fp16",
            Precision::Int8 => "int8",
            Precision::Uint8 => "uint8",
            Precision::Quantized => "quantized",
            Precision::Q4 => "q4",
            Precision::Q4f16 => "q4f16",
            Precision::Bnb4 => "bnb4",
        }
    }

    /// The file of a graph, below the folder.
    pub(crate) fn file(self, graph: &str) -> String {
        match self {
            Precision::Fp32 => format!("{GRAPHS}/{graph}.onnx"),
            other => format!("{GRAPHS}/{graph}_{}.onnx", other.name()),
        }
    }

    /// Whether activations are rounded to integers whose scale is that of the whole batch.
    pub(crate) fn scales_by_batch(self) -> bool {
        matches!(self, Precision::Int8 | Precision::Uint8 | Precision::Quantized)
    }
}

impl Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Precision, String> {
        let names: Vec<&str> = Precision::ALL.iter().map(|p| p.name()).collect();
        let found = Precision::ALL.into_iter().find(|p| p.name() == name);
        found.ok_or_else(|| format!("{name:?} is none of {}", names.join(", ")))
    }
}
