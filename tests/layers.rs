//! The layers of `docs/architecture.md`, held by reading the sources.
//!
//! A module of `dits-core` uses its own layer and those below; what may be touched is
//! granted to few modules by name. Tests inside the sources are not looked at.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Top-level modules of `dits-core` and their layers.
const LAYERS: &[(usize, &[&str])] = &[
    (0, &["hash", "extent", "repo_path", "remote_url", "limits", "failure", "steps"]),
    (
        1,
        &[
            "item",
            "chunking",
            "media",
            "pointer",
            "manifest",
            "pack_format",
            "codec",
            "git_index",
            "wire",
            "hydration_record",
        ],
    ),
    (2, &["store", "repo"]),
    (3, &["remote"]),
    (4, &["operations"]),
];

/// Something that only some sources may name.
struct Grant {
    /// What is looked for: a path's first words, a macro or a keyword.
    names: &'static [&'static str],
    /// Sources below `dits-core/src` that may name it, by the start of their path.
    granted: &'static [&'static str],
    why: &'static str,
}

const CORE_GRANTS: &[Grant] = &[
    Grant { names: &["gix", "gix_packetline"], granted: &["repo"], why: "only repo knows Git libraries" },
    Grant {
        names: &["rusqlite"],
        granted: &["store/index", "store/error", "repo/receipts", "remote/receipts"],
        why: "only the index and the receipts know SQL",
    },
    Grant {
        names: &[
            "tonic",
            "tonic_prost",
            "prost",
            "quinn",
            "rustls",
            "tokio",
            "tokio_rustls",
            "tokio_stream",
            "hyper_util",
            "tower",
            "TcpStream",
            "TcpListener",
            "UdpSocket",
        ],
        granted: &["remote/server", "remote/proto"],
        why: "only remote/server knows sockets",
    },
    Grant {
        names: &["std::fs", "std::os", "std::thread", "std::time", "std::process", "rustix", "tempfile", "rand"],
        granted: &["store", "repo", "remote", "operations", "steps"],
        why: "words and bytes touch nothing: no file, no clock, no thread, no other process",
    },
    Grant {
        names: &["async fn", "async move", ".await"],
        granted: &["remote/server", "remote/proto"],
        why: "only the network waits",
    },
    Grant {
        names: &["env::var", "env::var_os", "env::current_dir", "env::args", "temp_dir"],
        granted: &[],
        why: "dits-core never reads the environment",
    },
    Grant {
        names: &["println!", "eprintln!", "print!", "eprint!", "stdout", "stderr", "process::exit"],
        granted: &["repo/git_program"],
        why: "dits-core never prints and never ends the process",
    },
];

const DITSD_GRANTS: &[Grant] = &[
    Grant { names: &["rusqlite"], granted: &["db"], why: "only db knows SQL" },
    Grant {
        names: &["Command"],
        granted: &["git", "main", "serve", "commands", "hook"],
        why: "only git runs programs",
    },
];

/// What `ditsd/src/rules` must not name, whoever else may.
const RULES_NEVER: &[&str] = &[
    "std::fs",
    "std::env",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "std::thread",
    "std::process",
    "SystemTime",
    "Instant",
    "tokio",
    "tonic",
    "quinn",
    "rusqlite",
    "rand",
    "async fn",
    ".await",
    "println!",
    "eprintln!",
    "tracing",
];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ stands in the workspace").to_owned()
}

/// A source file, its path below `src`, and its code without comments and unit tests.
struct Source {
    path: String,
    code: String,
}

fn sources(crate_name: &str) -> Vec<Source> {
    let root = workspace().join(crate_name).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the sources are readable") {
            let path = entry.expect("the sources are readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let below = path.strip_prefix(&root).expect("it was found there").to_string_lossy().into_owned();
                if below.ends_with("tests.rs") {
                    continue;
                }
                found
                    .push(Source { path: below, code: code_of(&fs::read_to_string(&path).expect("sources are text")) });
            }
        }
    }
    assert!(!found.is_empty(), "{crate_name} has no sources");
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// Drops comments and everything from the unit tests on, which stand last in a file.
fn code_of(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let mut code = String::new();
    for line in text.lines() {
        let comment =
            line.match_indices("//").find(|(at, _)| line[..*at].chars().last().is_none_or(char::is_whitespace));
        code.push_str(comment.map_or(line, |(at, _)| &line[..at]));
        code.push('\n');
    }
    code
}

/// Returns true if `name` stands in `code` by itself, not inside a longer word.
fn names(code: &str, name: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let starts_word = name.starts_with(is_word);
    let ends_word = name.ends_with(is_word);
    code.match_indices(name).any(|(at, _)| {
        let before = code[..at].chars().last();
        let after = code[at + name.len()..].chars().next();
        let goes_on = starts_word && before.is_some_and(is_word) || ends_word && after.is_some_and(is_word);
        !goes_on
    })
}

/// The crate `name` is used: `name::…`, not a local of that name.
fn uses(code: &str, name: &str) -> bool {
    let is_path = name.contains("::") || !name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    match is_path {
        true => names(code, name),
        false => {
            code.match_indices(&format!("{name}::")).any(|(at, _)| {
                let before = code[..at].chars().last();
                before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':')
            }) || names(code, &format!("use {name}"))
        }
    }
}

/// The top-level modules that a source names by `crate::`, single or in braces.
fn crate_paths(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            found.extend(first_words_of_group(group));
        } else {
            found.insert(first_word(rest).to_owned());
        }
    }
    found
}

fn first_word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// The first word of each part of `a::b, c::{d, e}}`, up to the closing brace.
fn first_words_of_group(group: &str) -> Vec<String> {
    let mut depth = 1;
    let mut part_starts = true;
    let mut found = Vec::new();
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => part_starts = true,
            c if part_starts && (c.is_alphabetic() || c == '_') => {
                found.push(first_word(&group[at..]).to_owned());
                part_starts = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    found
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().find(|(_, modules)| modules.contains(&module)).map(|(layer, _)| *layer)
}

fn top_module(path: &str) -> &str {
    path.split('/').next().unwrap_or(path).trim_end_matches(".rs")
}

fn breaches(crate_name: &str, grants: &[Grant]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources(crate_name) {
        for grant in grants {
            let is_granted = grant
                .granted
                .iter()
                .any(|granted| source.path.strip_prefix(granted).is_some_and(|rest| rest.starts_with(['/', '.', '_'])));
            if is_granted {
                continue;
            }
            let named = grant.names.iter().filter(|name| uses(&source.code, name));
            found.extend(named.map(|name| format!("{crate_name}/src/{} names {name}: {}", source.path, grant.why)));
        }
    }
    found
}

#[test]
fn a_module_uses_its_own_layer_and_those_below() {
    let mut wrong = Vec::new();
    for source in sources("dits-core").iter().filter(|source| source.path != "lib.rs") {
        let module = top_module(&source.path);
        let Some(layer) = layer_of(module) else {
            wrong.push(format!("dits-core/src/{} belongs to no layer", source.path));
            continue;
        };
        for used in crate_paths(&source.code) {
            match layer_of(&used) {
                Some(other) if other <= layer => {}
                Some(_) => wrong.push(format!("dits-core/src/{} uses crate::{used}, a layer above", source.path)),
                None => {
                    wrong.push(format!("dits-core/src/{} uses crate::{used}, which belongs to no layer", source.path))
                }
            }
        }
    }
    assert!(wrong.is_empty(), "layers are broken:\n{}", wrong.join("\n"));
}

#[test]
fn what_touches_the_world_is_granted_by_name() {
    let wrong = [breaches("dits-core", CORE_GRANTS), breaches("ditsd", DITSD_GRANTS)].concat();
    assert!(wrong.is_empty(), "grants are broken:\n{}", wrong.join("\n"));
}

#[test]
fn the_rules_of_the_server_touch_nothing() {
    for source in sources("ditsd").iter().filter(|source| top_module(&source.path) == "rules") {
        let named: Vec<_> = RULES_NEVER.iter().filter(|name| uses(&source.code, name)).collect();
        assert!(named.is_empty(), "ditsd/src/{} names {named:?}", source.path);
    }
}

#[test]
fn programs_depend_on_the_library_and_not_on_one_another() {
    let programs = ["ditsd", "git-dits", "git-dits-filter", "git-remote-dits"];
    for manifest in programs.iter().chain(&["dits-core"]) {
        let text = fs::read_to_string(workspace().join(manifest).join("Cargo.toml")).expect("each has a manifest");
        let keys: Vec<_> = text.lines().map(|line| line.split(['=', '.']).next().unwrap_or_default().trim()).collect();
        for program in programs {
            assert!(!keys.contains(&program), "{manifest} depends on {program}");
        }
    }
    let filter = fs::read_to_string(workspace().join("git-dits-filter/Cargo.toml")).expect("it has a manifest");
    assert!(!filter.contains("\"remote\""), "the filter must start without the network half");
}

#[test]
fn every_hook_has_one_text_which_a_program_carries() {
    let carriers = ["dits-core", "git-dits", "ditsd"].map(sources);
    for entry in fs::read_dir(workspace().join("hooks")).expect("hooks/ is there") {
        let name = entry.expect("hooks/ is readable").file_name().into_string().expect("hooks have plain names");
        let include = format!("/hooks/{name}\")");
        let count = carriers.iter().flatten().filter(|source| source.code.contains(&include)).count();
        assert_eq!(count, 1, "hooks/{name} is carried by {count} sources");
    }
}

#[test]
fn the_checker_sees_what_it_must_see() {
    let code = code_of(
        "use crate::{hash::{A, B}, store};\nfn f() { crate::remote::x(); } // crate::operations\n#[cfg(test)]\nmod tests { use crate::media; }",
    );
    assert_eq!(crate_paths(&code), ["hash", "remote", "store"].map(str::to_owned).into());
    assert!(uses("use tokio::net;", "tokio") && uses("tokio::spawn(x)", "tokio"));
    assert!(!uses("let rand = 1; strand::x()", "rand"));
    assert!(uses("x.await;", ".await") && !uses("x.awaited", ".await"));
}
