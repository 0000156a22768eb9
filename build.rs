//! Generates the contract's Rust types. The protos compile in pure Rust (protox); nothing is fetched and no protoc is
//! needed. The descriptor set keeps the comments, so that reflection can show them.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let package = PathBuf::from("proto/heldar/footage/v1");
    let mut files = std::fs::read_dir(&package)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()?;
    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "proto")
    });
    files.sort();

    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler
        .include_source_info(true)
        .include_imports(true)
        .open_files(&files)?;
    let descriptors = compiler.file_descriptor_set();
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    // Encoded by protox itself: prost would drop the extensions that it does not know.
    std::fs::write(
        out.join("footage.bin"),
        compiler.encode_file_descriptor_set(),
    )?;

    println!("cargo:rerun-if-changed=proto");
    tonic_prost_build::configure()
        .build_server(std::env::var_os("CARGO_FEATURE_SERVER").is_some())
        // Maps in order of key, so that equal requests have equal bytes: request ids are checked by a digest of them.
        .btree_map(".")
        .extern_path(".google.rpc", "::tonic_types::pb")
        .compile_fds(descriptors)?;
    Ok(())
}
