//! Compiles the control plane's messages, with no `protoc` on the machine.

fn main() {
    #[cfg(feature = "remote")]
    {
        let proto = "proto/dits/v1/control.proto";
        println!("cargo::rerun-if-changed={proto}");
        let files = protox::compile([proto], ["proto"]).expect("control.proto is valid");
        tonic_prost_build::configure()
            .bytes(".dits.v1")
            .compile_fds(files)
            .expect("the code generator can write to OUT_DIR");
    }
}
