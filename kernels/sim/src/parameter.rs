//! The parameters of a kernel.

/// A parameter of a kernel and its place in the parameter space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Its name in the PTX.
    pub name: String,
    /// Its type in the PTX, such as `u64` or `f32`; `b8` for a struct.
    pub type_name: String,
    /// Byte offset in the parameter space.
    pub offset: usize,
    /// Size in bytes.
    pub bytes: usize,
    /// Alignment in bytes.
    pub align: usize,
}

#[cfg(test)]
mod tests {
    use crate::Module;

    #[test]
    fn parameters_have_their_places() {
        let text = ".version 8.7\n.target sm_80\n.address_size 64\n.visible .entry k(\n\
            .param .u32 count,\n.param .u64 .ptr .global .align 4 at,\n.param .u8 flag,\n\
            .param .align 8 .b8 pair[24],\n.param .f32 scale\n)\n{\nret;\n}\n";
        let module = Module::parse(text).unwrap();
        let kernel = module.kernels().next().unwrap();
        let places: Vec<_> = kernel
            .parameters()
            .iter()
            .map(|p| (p.name.as_str(), p.type_name.as_str(), p.offset, p.bytes, p.align))
            .collect();
        let expected = [
            ("count", "u32", 0, 4, 4),
            ("at", "u64", 8, 8, 8),
            ("flag", "u8", 16, 1, 1),
            ("pair", "b8", 24, 24, 8),
            ("scale", "f32", 48, 4, 4),
        ];
        assert_eq!(places, expected);
        assert_eq!(kernel.parameter_bytes(), 52);
    }
}
