//! Tests of the dictionary.

use super::*;

#[test]
fn the_built_in_text_is_free_of_problems() {
    let dictionary = Dictionary::builtin();
    assert_eq!(dictionary.warnings(), []);
    for (name, text) in builtin::PROFILES {
        let mut builder = Builder::with_builtin();
        builder.text(name, text.as_bytes());
        let dictionary = builder.finish().unwrap();
        eprintln!("{name}: {:#?}", dictionary.warnings());
    }
}
