//! Files within files, names, conditions, substitutions, and their limits.

use super::*;
use crate::import::lexer::written;

/// Reads `main.cfg` of files in memory.
fn read_all(files: &[(&str, &str)]) -> Result<Input, Mistake> {
    let open = |path: &Path| -> io::Result<Vec<u8>> {
        let name = path.to_string_lossy();
        let found = files.iter().find(|(own, _)| *own == name).map(|(_, text)| text.as_bytes().to_vec());
        found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such file"))
    };
    read(Path::new("main.cfg"), &[("GIVEN".to_owned(), "7".to_owned())], &open)
}

#[test]
fn names_conditions_and_substitutions_are_resolved() {
    for (name, text, want) in [
        ("a name stands for its text", "#!define A 1\nx=A\n", "x=1"),
        ("also for a text in quotation marks", "#!define A \"b c\"\nx=A", "x=\"b c\""),
        ("also for nothing", "#!define A\nx A y", "x y"),
        ("a name of the command line", "x=GIVEN", "x=7"),
        ("names within names", "#!define A B\n#!define B 3\nA", "3"),
        ("no name within quotation marks", "#!define A 1\n\"A\"", "\"A\""),
        ("a later value counts", "#!define A 1\n#!redefine A 2\nA", "2"),
        ("a try keeps the first", "#!define A 1\n#!trydef A 2\nA", "1"),
        ("the old sign", "!!define A 1\nA", "1"),
        ("what is defined", "#!define A\n#!ifdef A\nx\n#!else\ny\n#!endif\nz", "x z"),
        ("what is not", "#!ifdef A\nx\n#!else\ny\n#!endif\nz", "y z"),
        ("the opposite", "#!ifndef A\nx\n#!endif", "x"),
        ("conditions within conditions", "#!ifdef A\n#!ifdef GIVEN\nx\n#!else\ny\n#!endif\n#!else\nz\n#!endif", "z"),
        ("nothing within them is read", "#!ifdef A\n\"open $(\n#!define B 1\n#!endif\nB", "B"),
        ("a substitution in texts", "#!subst \"/HOST/h.example/\"\nx=\"HOST HOST\"", "x=\"h.example HOST\""),
        ("everywhere", "#!subst \"/h/H/gi\"\n\"ahh\" h", "\"aHH\" h"),
        ("with a name", "#!substdef \"!DB!mysql://a@b/c!g\"\n\"x DB\"", "\"x mysql://a@b/c\""),
        ("with a name for a text", "#!substdefs \"!DB!a b!g\"\nx=DB", "x=\"a b\""),
        ("a dollar sign in it is nothing special", "#!subst \"/A/$fU/\"\n\"A\"", "\"$fU\""),
        ("a comment behind the value", "#!define A 1 # one\nA", "1"),
        ("a first line of its own", "#!KAMAILIO\nx", "x"),
    ] {
        let input = read_all(&[("main.cfg", text)]).unwrap_or_else(|mistake| panic!("{name}: {mistake}"));
        assert_eq!(written(&input.tokens), want, "{name}");
    }
}

#[test]
fn files_are_included_where_they_are_named() {
    let files = [
        ("main.cfg", "a\ninclude_file \"sub/one.cfg\"\nimport_file \"none.cfg\"\n#!import_file \"two.cfg\"\nb"),
        ("sub/one.cfg", "#!define A 1\ninclude_file \"three.cfg\""),
        ("two.cfg", "two A"),
        ("sub/three.cfg", "three"),
    ];
    let input = read_all(&files).expect("all are there");
    assert_eq!(written(&input.tokens), "a three two 1 b");
    let three = input.tokens[1].at;
    assert_eq!(input.files[usize::from(three.file)], Path::new("sub/three.cfg"));
    assert_eq!(input.notes.len(), 1, "{:?}", input.notes);
    assert!(input.notes[0].why.contains("import_file permits that"), "{:?}", input.notes);
}

#[test]
fn lines_that_are_switched_off_are_told() {
    let input = read_all(&[("main.cfg", "#!ifdef A\nx\n#!else\ny\n#!endif\n#!ifndef GIVEN\nz\n#!endif\n")]);
    let left_out = input.expect("it is readable").left_out;
    let found: Vec<_> = left_out.iter().map(|own| (own.by.as_str(), own.from.line, own.to_line)).collect();
    assert_eq!(found, [("ifdef A", 1, 3), ("ifndef GIVEN", 6, 8)]);
}

#[test]
fn what_makes_the_rest_unreadable_is_told_with_its_place() {
    let long = "x ".repeat(TOKENS_MAX + 1);
    let nested = "#!ifdef A\n".repeat(110);
    let wide: String = (0..15).fold(String::from("#!define A15 x\n"), |text, number| {
        format!("{text}#!define A{number} A{0} A{0} A{0} A{0}\n", number + 1)
    }) + "A0";
    let growing = "#!subst \"/x/xxxxxxxxxxxxxxxx/g\"\n".repeat(6) + "\"x\"";
    for (name, text, want, line) in [
        ("no end of a condition", "a\n#!ifdef A\nb", "`#!ifdef A` lacks its `#!endif`", 2),
        ("an end too many", "#!endif", "`#!endif` without `#!ifdef`", 1),
        ("an else too many", "\n#!else", "`#!else` without `#!ifdef`", 2),
        ("names that lead to themselves", "#!define A B\n#!define B A\n\nA", "16 names stand for each other", 4),
        ("too many words", &long, "more than 1000000 words", 1),
        ("names that grow", &wide, "more than 1000000 words", 17),
        ("texts that grow", &growing, "65536 octets after its substitutions", 7),
        ("conditions too deep", &nested, "100 `#!ifdef` within each other", 101),
        ("a file that is not there", "\ninclude_file \"x.cfg\"", "cannot read x.cfg: no such file", 2),
        ("a file that includes itself", "include_file \"main.cfg\"", "16 files within each other", 1),
        ("a substitution without text", "#!subst \"x\"", "`#!subst` has no pattern and text", 1),
        ("a text without an end", "a\nb \"c", "a text that begins with \" is never closed", 2),
        ("the same in what a name stands for", "#!define A \"x\n\nA", "what `A` stands for cannot be read", 3),
        ("no text at all", "a\0b", "this is no text", 1),
    ] {
        let mistake = read_all(&[("main.cfg", text)]).expect_err(name);
        assert!(mistake.what.contains(want), "{name}: {mistake}");
        let is_there = matches!(mistake.places[..], [Place::File { line: own, .. }] if own == line);
        assert!(is_there, "{name}: {mistake}");
    }
    let mistake = read(Path::new("x"), &[], &|_| Err(io::Error::other("gone"))).expect_err("nothing is there");
    assert_eq!(mistake.places, [Place::Whole("x".into())]);
}
