use super::{Copy, Params, copy};
use crate::kernel::Capabilities;

#[test]
fn by_hand() {
    assert_eq!(copy(&[1, 2]), [1, 2]);
}

#[test]
fn nothing_to_copy_is_refused() {
    assert!(Copy.launch(Params { n: 0 }, &Capabilities::base()).is_err());
}
