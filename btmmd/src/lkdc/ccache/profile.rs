//! What `krb5.conf` says of the default cache. Only as much of its language as that takes.

use std::path::PathBuf;

/// What a file says, in its own order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// `default_ccache_name` under `[libdefaults]`.
    Name(String),
    /// Another file's words come here.
    File(PathBuf),
    /// Those of every file of a folder.
    Folder(PathBuf),
}

/// Reads a file's text. An included file has sections of its own.
pub(super) fn said(text: &str) -> Vec<Said> {
    let (mut found, mut defaults, mut depth) = (Vec::new(), false, 0_u32);
    for line in text.lines() {
        // Only at the very beginning of a line.
        if let Some(path) = line.strip_prefix("includedir").filter(|rest| rest.starts_with(char::is_whitespace)) {
            found.push(Said::Folder(path.trim().into()));
        } else if let Some(path) = line.strip_prefix("include").filter(|rest| rest.starts_with(char::is_whitespace)) {
            found.push(Said::File(path.trim().into()));
        }
        let line = line.trim();
        if let Some(section) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            (defaults, depth) = (section.0.trim() == "libdefaults", 0);
        } else if line.ends_with('{') {
            depth += 1;
        } else if line.starts_with('}') {
            depth = depth.saturating_sub(1);
        } else if let Some((key, value)) = line.split_once('=').filter(|_| defaults && depth == 0)
            && key.trim() == "default_ccache_name"
        {
            found.push(Said::Name(value.trim().trim_matches('"').to_owned()));
        }
    }
    found
}

/// Whether a file of an included folder is read, by its name.
pub(super) fn is_read(name: &str) -> bool {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    plain || name.ends_with(".conf") && !name.starts_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_library_s_defaults_count_and_includes_keep_their_place() {
        let text = "includedir /etc/krb5.conf.d\n# default_ccache_name = FILE:/no\n[libdefaults]\n  EXAMPLE.TEST = {\n  \
                    default_ccache_name = FILE:/inner\n  }\n default_ccache_name = \"DIR:/x\"\ninclude /run/y\n[realms]\n\
                    default_ccache_name = FILE:/no\n include /not/first\nincluded = /z\n";
        assert_eq!(said(text), [Said::Folder("/etc/krb5.conf.d".into()), Said::Name("DIR:/x".to_owned()), Said::File("/run/y".into())]);
    }

    #[test]
    fn left_overs_of_editors_and_packages_are_not_read() {
        assert!(is_read("btmm.conf") && is_read("local-1_x"));
        assert!(!is_read("btmm.conf~") && !is_read(".hidden.conf") && !is_read("btmm.dpkg-new"));
    }
}
