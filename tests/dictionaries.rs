use std::path::Path;
use tollgate::dictionary::{Dictionary, Files};
#[test]
fn all() {
    let d = Dictionary::load(Path::new("/usr/share/freeradius/dictionary"), &mut Files);
    match d {
        Ok(d) => {
            for w in d.warnings() {
                println!("{w}");
            }
            println!("{} names {} files", d.names().count(), d.files().len());
        }
        Err(e) => println!("{e}"),
    }
    let d = Dictionary::load(Path::new("/etc/radcli/dictionary"), &mut Files);
    match d {
        Ok(d) => {
            for w in d.warnings() {
                println!("{w}");
            }
        }
        Err(e) => println!("{e}"),
    }
}
