//! One test for each way in which a safetensors file can be wrong; each message names the file and the tensor, what was expected and
//! found, and what to do.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{Folder, assert_holds, counting, file_bytes, with_header};

#[test]
fn tensor_twice_in_one_header() {
    let header = r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#;
    assert_holds(
        &Folder::with_model(&with_header(header, &[0; 2])).open_error(),
        &["tensor `a` is stored twice", "model.safetensors"],
    );
}

#[test]
fn file_shorter_than_a_length() {
    for n_bytes in [0, 7] {
        let message = Folder::with_model(&vec![0; n_bytes]).open_error();
        assert_holds(
            &message,
            &["truncated", "needs 8 bytes", &format!("found {n_bytes};"), "download it again", "model.safetensors"],
        );
    }
}

#[test]
fn header_of_absurd_length() {
    for header_bytes in [100_000_001, u64::MAX, u64::MAX - 7] {
        let mut file = header_bytes.to_le_bytes().to_vec();
        file.extend(b"{}");
        let message = Folder::with_model(&file).open_error();
        assert_holds(&message, &[&format!("claims {header_bytes} bytes"), "at most 100000000", "model.safetensors"]);
    }
}

#[test]
fn header_that_is_truncated() {
    let file = file_bytes(vec![counting("a", &[4], 0)]);
    let message = Folder::with_model(&file[..20]).open_error();
    assert_holds(&message, &["truncated: the header needs", "found 20;", "download it again"]);
}

#[test]
fn data_that_is_truncated() {
    let file = file_bytes(vec![counting("a", &[4], 0), counting("b", &[4], 0)]);
    let message = Folder::with_model(&file[..file.len() - 1]).open_error();
    let (needed, found) = (format!("needs {} bytes", file.len()), format!("found {};", file.len() - 1));
    assert_holds(&message, &["truncated: tensor `b`", &needed, &found, "model.safetensors"]);
}

#[test]
fn header_that_is_not_json_or_not_a_header() {
    for header in ["", "[]", "{\"a\"", r#"{"a": 3}"#, r#"{"a": {"dtype": "U8", "shape": [-1], "data_offsets": [0, 1]}}"#] {
        let message = Folder::with_model(&with_header(header, &[])).open_error();
        assert_holds(&message, &["the safetensors header is damaged", "download the file again", "model.safetensors"]);
    }
    let message = Folder::with_model(&with_header(r#"{"w": {"dtype": "U8", "shape": [1]}}"#, &[0])).open_error();
    assert_holds(&message, &["tensor `w`", "data_offsets"]);
}

#[test]
fn header_that_is_not_utf8() {
    let mut file = with_header(r#"{"#, &[]);
    file.extend([0xFF; 4]);
    file[0] = 5;
    assert_holds(&Folder::with_model(&file).open_error(), &["the safetensors header is damaged"]);
}

#[test]
fn unknown_element_type() {
    let header = r#"{"w":{"dtype":"F6_E2M3","shape":[4],"data_offsets":[0,3]}}"#;
    let message = Folder::with_model(&with_header(header, &[0; 3])).open_error();
    assert_holds(&message, &["tensor `w`", "F6_E2M3", "use a checkpoint in BF16", "model.safetensors"]);
}

#[test]
fn range_that_does_not_fit_the_shape() {
    for (shape, begin, end) in
        [("[2,3]", 0, 11), ("[2,3]", 12, 0), ("[9223372036854775807,4]", 0, 12), ("[9223372036854775808,0,4]", 0, 0)]
    {
        let header = format!(r#"{{"w":{{"dtype":"BF16","shape":{shape},"data_offsets":[{begin},{end}]}}}}"#);
        let message = Folder::with_model(&with_header(&header, &[0; 12])).open_error();
        assert_holds(&message, &["tensor `w` of shape", "BF16", &format!("{begin}..{end}"), "damaged", "model.safetensors"]);
    }
}

#[test]
fn tensors_that_overlap() {
    let header = r#"{"a":{"dtype":"U8","shape":[6],"data_offsets":[0,6]},"b":{"dtype":"U8","shape":[6],"data_offsets":[4,10]}}"#;
    let message = Folder::with_model(&with_header(header, &[0; 10])).open_error();
    assert_holds(&message, &["tensors `a` and `b` overlap by 2 bytes", "damaged", "model.safetensors"]);
}

#[test]
fn bytes_that_belong_to_no_tensor() {
    let header = r#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}"#;
    assert_holds(
        &Folder::with_model(&with_header(header, &[0; 3])).open_error(),
        &["1 bytes after the header belong to no tensor"],
    );
    let header = r#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}"#;
    assert_holds(
        &Folder::with_model(&with_header(header, &[0; 5])).open_error(),
        &["3 bytes after tensor `a` belong to no tensor"],
    );
}
