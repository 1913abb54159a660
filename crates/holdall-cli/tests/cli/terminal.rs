//! What is shown on a terminal and what goes into a pipe.

use holdall::Format;

use crate::support::Scratch;

#[test]
fn a_value_cannot_speak_to_the_terminal_and_goes_into_a_pipe_as_it_is() {
    let scratch = Scratch::new();
    let store = scratch.blobs();
    let text = "title\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}\ttab \\ \r\nlast\rline";
    store.save("text", text, Format::String).expect("saved");
    store.save("json", text, Format::Json).expect("saved");
    let odd = "[1e999, \"\u{9b}31m\"]".to_owned();
    let part = vec![odd.into_bytes().into()];
    store.save_parts("odd", Format::Json, part, holdall::SaveOptions::default()).expect("saved");
    store.close().expect("closed");
    assert_eq!(scratch.good(&["get", "text"]), text);
    for (words, shown) in [
        (
            &["get", "text"][..],
            "title\\u{1b}]0;owned\\u{7}\\u{9b}31m\\u{202e}\ttab \\ \nlast\\rline\n",
        ),
        (
            &["get", "json"],
            "\"title\\u001b]0;owned\\u0007\\u009b31m\\u202e\\ttab \\\\ \\r\\nlast\\rline\"\n",
        ),
        (&["get", "odd"], "[1e999, \"\\u{9b}31m\"]\n"),
        (&["get", "text", "--raw"], text),
    ] {
        let Some(seen) = scratch.on_terminal(words) else {
            return println!("skipped: there is no pseudo-terminal here");
        };
        // A terminal makes its own ends of lines.
        let (seen, shown) = (seen.replace("\r\n", "\n"), shown.replace("\r\n", "\n"));
        if words.contains(&"--raw") {
            assert!(seen.contains('\u{1b}'), "it was asked for");
        } else {
            assert_eq!(seen.replace('\r', ""), shown, "{words:?}");
        }
    }
}

#[test]
fn the_name_of_a_file_cannot_speak_to_the_terminal_either() {
    let scratch = Scratch::new();
    let hostile = "files/\u{1b}[31m\u{9b}m\u{202e}";
    std::fs::create_dir_all(scratch.path(hostile)).expect("ours");
    for name in ["x\u{1b}[1m.odd", "y\u{1b}[1m.json", "y\u{1b}[1m.txt"] {
        std::fs::write(scratch.path(hostile).join(name), "1").expect("ours");
    }
    let named = scratch.run(&["import", "files"]);
    assert_eq!((named.code, named.err.lines().count()), (1, 3), "{}", named.err);
    std::fs::write(scratch.path(hostile).join("cache.db"), "").expect("ours");
    let refused = scratch.run(&["import", "files"]);
    assert_eq!((refused.code, refused.err.lines().count()), (2, 1), "{}", refused.err);
    for text in [named.err, named.out, refused.err] {
        assert!(!text.contains(['\u{1b}', '\u{9b}', '\u{202e}']), "{}", text.escape_debug());
    }
}

#[test]
fn a_long_listing_has_a_head_on_a_terminal_and_times_like_those_of_stat() {
    let scratch = Scratch::filled();
    let piped = scratch.good(&["ls", "-l"]);
    assert_eq!(piped.lines().count(), 3, "{piped}");
    let stat = scratch.good(&["stat", "a/1"]);
    let updated = stat.lines().find_map(|line| line.strip_prefix("updated")).expect("a line");
    assert!(updated.ends_with('Z') && !updated.contains(['T', '.']), "{updated}");
    assert!(piped.contains(updated.trim()), "{piped}{stat}");
    let Some(seen) = scratch.on_terminal(&["ls", "-l"]) else {
        return println!("skipped: there is no pseudo-terminal here");
    };
    assert_eq!(seen.lines().count(), 4, "{seen}");
    assert!(seen.lines().next().is_some_and(|head| head.contains("updated (UTC)")), "{seen}");
    assert!(seen.lines().all(|line| line.trim_end().chars().count() < 80), "{seen}");
}

#[test]
fn what_the_parser_says_has_colours_only_where_they_are_wanted() {
    let scratch = Scratch::new();
    for words in [&["--help"][..], &["lss"], &["ls", "--jsn"], &["ls", "--help"]] {
        for (color, has) in [("never", false), ("always", true)] {
            for words in [[&["--color", color][..], words].concat(), [&[], words].concat()] {
                let mut command = scratch.bare(&words);
                if words[0] != "--color" {
                    command.arg(format!("--color={color}"));
                }
                let ran = crate::support::ran(command.output().expect("it runs"));
                let told = format!("{}{}", ran.out, ran.err);
                assert_eq!(told.contains('\u{1b}'), has, "{words:?} {color}: {told}");
            }
        }
    }
}
