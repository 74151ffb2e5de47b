//! Kernel modules: which files, in which order.
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The modules of one kernel, as `depmod` describes them.
pub struct Modules {
    folder: PathBuf,
    /// Name (underscores) to file and its dependencies, nearest first.
    dependencies: HashMap<String, (String, Vec<String>)>,
    builtin: Vec<String>,
}

impl Modules {
    /// Reads `modules.dep` and `modules.builtin` of a folder such as `/lib/modules/6.1.0-1-amd64`.
    pub fn read(folder: &Path) -> Result<Self> {
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
        };
        Ok(Self::parse(folder, &read("modules.dep")?, &read("modules.builtin")?))
    }

    fn parse(folder: &Path, dep: &str, builtin: &str) -> Self {
        let mut dependencies = HashMap::new();
        for line in dep.lines() {
            if let Some((file, needs)) = line.split_once(':') {
                let needs = needs.split_whitespace().map(str::to_owned).collect();
                dependencies.insert(module_name(file), (file.to_owned(), needs));
            }
        }
        let builtin = builtin.lines().map(module_name).collect();
        Self { folder: folder.to_owned(), dependencies, builtin }
    }

    /// Files to insert, dependencies first, for the modules named; those built into the kernel need none.
    pub fn load_order(&self, names: &[&str]) -> Result<Vec<PathBuf>> {
        let mut order: Vec<PathBuf> = Vec::new();
        for name in names {
            let Some((file, needs)) = self.dependencies.get(*name) else {
                if self.builtin.iter().any(|b| b == name) {
                    continue;
                }
                bail!("the kernel of {} has no module {name}", self.folder.display());
            };
            // modules.dep lists the nearest dependency first, so the order of insertion is its reverse.
            for file in needs.iter().rev().chain(std::iter::once(file)) {
                let path = self.folder.join(file);
                if !order.contains(&path) {
                    order.push(path);
                }
            }
        }
        Ok(order)
    }
}

fn module_name(file: &str) -> String {
    let base = file.rsplit('/').next().unwrap_or(file);
    base.split(".ko").next().unwrap_or(base).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_come_before_what_needs_them_and_builtin_modules_are_left_out() {
        let dep = "kernel/a/far.ko:\nkernel/a/near-one.ko: kernel/a/far.ko\nkernel/b/top.ko: kernel/a/near-one.ko kernel/a/far.ko\n";
        let modules = Modules::parse(Path::new("/m"), dep, "kernel/c/inside.ko\n");
        let order = modules.load_order(&["top", "inside", "near_one"]).expect("all are known");
        assert_eq!(order, ["/m/kernel/a/far.ko", "/m/kernel/a/near-one.ko", "/m/kernel/b/top.ko"].map(PathBuf::from));
    }

    #[test]
    fn a_module_the_kernel_does_not_have_is_an_error() {
        let modules = Modules::parse(Path::new("/m"), "", "");
        assert!(modules.load_order(&["absent"]).is_err());
    }
}
