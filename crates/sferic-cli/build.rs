//! Makes the program smaller where the linker can.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let is_linux_x86 = std::env::var("TARGET").is_ok_and(|target| target == "x86_64-unknown-linux-gnu");
    if is_linux_x86 {
        // Generic code leaves many functions with the same machine code; LLD, which rustc brings for this target, keeps one of
        // each (6 MB). Nothing compares addresses of functions, and Rust gives no promise that they differ.
        println!("cargo:rustc-link-arg-bins=-Wl,--icf=all");
        // A program at a fixed address needs no table of its own addresses (5 MB). Libraries, heap and stack stay randomised.
        println!("cargo:rustc-link-arg-bins=-no-pie");
    }
}
