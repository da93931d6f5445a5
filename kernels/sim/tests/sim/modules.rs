//! Modules with kernels that cannot run, and text that is not PTX.

use ptx_sim::{Error, Module};

/// A module with one kernel for each body.
fn module(bodies: &[(&str, &str)]) -> Module {
    let kernels: String = bodies
        .iter()
        .map(|(name, body)| {
            format!(".visible .entry {name}()\n{{ .reg .b32 %r<9>;\n{body}\nret; }}\n")
        })
        .collect();
    let text = format!(".version 9.0\n.target sm_80\n.address_size 64\n{kernels}");
    Module::parse(&text).unwrap_or_else(|error| panic!("{error}"))
}

/// The names of the kernels that can run.
fn names(module: &Module) -> Vec<&str> {
    module.kernels().map(|kernel| kernel.name()).collect()
}

#[test]
fn an_unsupported_kernel_does_not_block_the_others() {
    let module = module(&[
        ("first", "mov.u32 %r0, 1;"),
        ("tensor", "wgmma.fence.sync.aligned; foo.b32 %r5, %r6; foo.b32 %r6, %r5;"),
        ("cluster", "mov.u32 %r0, %clusterid.x;"),
        ("texture", ".texref what;"),
        ("operand", "mov.u32 %r0, %r77;"),
        ("last", "mov.u32 %r0, 1;"),
    ]);
    assert_eq!(names(&module), ["first", "last"]);
    assert_eq!(module.kernel("last").unwrap().name(), "last");
    let unsupported: Vec<&str> = module.unsupported().map(|(name, _)| name).collect();
    assert_eq!(unsupported, ["tensor", "cluster", "texture", "operand"]);
    let Err(Error::Unsupported { kernel, instructions, line }) = module.kernel("tensor") else {
        panic!("tensor is not supported");
    };
    assert_eq!((kernel.as_str(), line), ("tensor", 10));
    assert_eq!(instructions, ["wgmma.fence.sync.aligned", "foo.b32 %r5, %r6"]);
    for (name, part) in [("cluster", "%clusterid.x"), ("texture", ".texref"), ("operand", "%r77")] {
        let text = module.kernel(name).unwrap_err().to_string();
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn an_unknown_name_lists_the_kernels() {
    let module = module(&[("conv_forward", ""), ("conv_backward", ""), ("other", "foo;")]);
    let text = module.kernel("conv_forwrad").unwrap_err().to_string();
    for part in ["`conv_forwrad`", "`conv_backward`", "`other`", "did you mean `conv_forward`"] {
        assert!(text.contains(part), "{text}");
    }
    let text = module.kernel("x").unwrap_err().to_string();
    assert!(text.contains("`conv_forward`") && !text.contains("did you mean"), "{text}");
    // The mangled name has the source's name in it.
    let mangled = self::module(&[("_Z7softmaxPfi", "")]);
    assert!(mangled.kernel("softmax").unwrap_err().to_string().contains("mean `_Z7softmaxPfi`"));
    let empty = Module::parse(".version 9.0\n.target sm_80\n").unwrap();
    let error = empty.kernel("k").unwrap_err();
    assert!(
        matches!(&error, Error::NoKernel { name, kernels } if name == "k" && kernels.is_empty())
    );
    assert!(error.to_string().contains("no .entry"), "{error}");
}

#[test]
fn every_version_is_read() {
    for version in ["1.4", "6.0", "9.5", "12.0"] {
        let text =
            format!(".version {version}\n.target sm_999a, debug\n.visible .entry k() {{ ret; }}");
        assert_eq!(names(&Module::parse(&text).unwrap()), ["k"]);
    }
}

#[test]
fn text_that_is_not_ptx_is_refused() {
    for text in ["", "\x7fELF\u{2}\u{1}", "__global__ void k() {}", "// a comment\nhello"] {
        let error = Module::parse(text).unwrap_err().to_string();
        assert!(error.contains("not PTX") && error.contains(".version"), "{error}");
    }
    let open = Module::parse(".version 9.0\n.visible .entry k() { ret;").unwrap_err();
    assert!(open.to_string().contains("`k` has no closing brace"), "{open}");
}
