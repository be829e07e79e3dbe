//! Windows of GTK 4 on an X server where the box has no GPU.
//!
//! Mesa then draws with the processor, and its EGL hands pictures to the server in shared memory of
//! System V without asking whether that arrived. It does not: a box has shared memory of its own.
//! Windows stay black. GTK has another way to draw, which looks before it shares.

use std::path::Path;

use super::login::{self, Variables};

const RENDERER: &str = "GSK_RENDERER";

/// Has GTK draw by itself where it would draw nothing; whoever chose otherwise is heeded.
pub fn settle(variables: &mut Variables, dev: &Path) {
    let has = |name: &str| variables.iter().any(|(known, _)| known == name);
    // On Wayland memory goes along as a descriptor.
    if has("DISPLAY") && !has("WAYLAND_DISPLAY") && !has(RENDERER) && !has_gpu(dev) {
        login::set(variables, RENDERER.into(), "cairo".into());
    }
}

fn has_gpu(dev: &Path) -> bool {
    let nodes = std::fs::read_dir(dev.join("dri")).into_iter().flatten().flatten();
    let mut names = nodes.map(|node| node.file_name().to_string_lossy().into_owned());
    names.any(|name| name.starts_with("renderD")) || dev.join("nvidiactl").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(set: &[(&str, &str)], dev: &Path) -> Option<String> {
        let mut variables: Variables =
            set.iter().map(|(name, value)| (name.into(), value.into())).collect();
        settle(&mut variables, dev);
        let found = variables.into_iter().find(|(name, _)| name == RENDERER);
        found.and_then(|(_, value)| value.into_string().ok())
    }

    #[test]
    fn gtk_draws_by_itself_on_x_without_a_gpu_alone() {
        let none = Path::new("/nonexistent");
        assert_eq!(chosen(&[("DISPLAY", ":0")], none).as_deref(), Some("cairo"));
        assert_eq!(chosen(&[], none), None);
        assert_eq!(chosen(&[("DISPLAY", ":0"), ("WAYLAND_DISPLAY", "wayland-0")], none), None);
        let own = chosen(&[("DISPLAY", ":0"), (RENDERER, "gl")], none);
        assert_eq!(own.as_deref(), Some("gl"));
        let dev = std::env::temp_dir().join(format!("incusbox-dev-{}", std::process::id()));
        std::fs::create_dir_all(dev.join("dri/renderD128")).expect("a directory");
        let with_gpu = chosen(&[("DISPLAY", ":0")], &dev);
        std::fs::remove_dir_all(&dev).expect("a directory of ours");
        assert_eq!(with_gpu, None);
    }
}
