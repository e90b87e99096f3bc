//! Claims about what the program tells of itself: completions for shells, and manual pages.

use std::process::{Command, Output, Stdio};

fn hayrick(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hayrick"));
    command.args(args).stdin(Stdio::null()).output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

#[test]
fn completions_are_printed_for_the_shells_there_are() {
    for (shell, begins) in
        [("bash", "_hayrick()"), ("zsh", "#compdef hayrick"), ("fish", "complete -c hayrick")]
    {
        let output = hayrick(&["completions", shell]);
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""), "{shell}");
        assert!(text(&output.stdout).contains(begins), "{shell}");
        assert!(text(&output.stdout).contains("undrain"), "{shell} knows the commands below commands");
    }
    let unknown = hayrick(&["completions", "csh"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(
        text(&unknown.stderr).contains("bash, elvish, fish, powershell, zsh"),
        "{}",
        text(&unknown.stderr)
    );
}

/// Where there is a shell of that name: bash is on most machines, the others on some.
#[test]
fn shells_can_read_their_completions() {
    let dir = tempfile::tempdir().expect("a directory");
    for shell in ["bash", "zsh", "fish"] {
        let script = dir.path().join(shell);
        std::fs::write(&script, hayrick(&["completions", shell]).stdout).expect("written");
        match Command::new(shell).arg("-n").arg(&script).output() {
            Ok(output) => assert!(output.status.success(), "{shell}: {}", text(&output.stderr)),
            Err(error) => eprintln!("{shell} is not tried: {error}"),
        }
    }
}

#[test]
fn bash_completes_commands_and_flags() {
    let dir = tempfile::tempdir().expect("a directory");
    let script = dir.path().join("hayrick.bash");
    std::fs::write(&script, hayrick(&["completions", "bash"]).stdout).expect("written");
    let ask = "source \"$1\"; COMP_WORDS=(hayrick volume un); COMP_CWORD=2; _hayrick hayrick un volume; \
               echo \"${COMPREPLY[@]}\"; \
               COMP_WORDS=(hayrick master --down); COMP_CWORD=2; _hayrick hayrick --down master; \
               echo \"${COMPREPLY[@]}\"";
    let Ok(output) = Command::new("bash").args(["-c", ask, "bash"]).arg(&script).output() else { return };
    assert_eq!(text(&output.stdout), "undrain\n--down-after\n", "{}", text(&output.stderr));
}

#[test]
fn man_writes_a_page_for_each_command_and_says_how_many() {
    let dir = tempfile::tempdir().expect("a directory");
    let into = dir.path().join("share/man1");
    let output = hayrick(&["man", into.to_str().expect("UTF-8")]);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    let pages = std::fs::read_dir(&into).expect("it was made").count();
    assert!(text(&output.stdout).starts_with(&format!("{pages} pages in ")), "{}", text(&output.stdout));
    for page in ["hayrick.1", "hayrick-master.1", "hayrick-master-transfer.1", "hayrick-config.1"] {
        let page = std::fs::read_to_string(into.join(page)).unwrap_or_else(|error| panic!("{page}: {error}"));
        assert!(page.contains(".SH EXAMPLES"), "{page}");
    }
    assert_eq!(hayrick(&["man", into.to_str().expect("UTF-8")]).status.code(), Some(0), "again");

    let file = dir.path().join("file");
    std::fs::write(&file, "").expect("written");
    let refused = hayrick(&["man", file.to_str().expect("UTF-8")]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("cannot make the directory"), "{}", text(&refused.stderr));
}
