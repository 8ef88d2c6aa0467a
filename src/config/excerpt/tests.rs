//! What is shown of lines, and what is not.

use super::*;

#[test]
fn the_caret_is_under_what_is_wrong() {
    let excerpt = Excerpt::of(Form::Toml, "timout_ms = 5", 0..13, 1, "").expect("there is such a line");
    assert_eq!((&excerpt.text[excerpt.place], excerpt.text.as_str()), ("timout_ms", "timout_ms ***"));
}
