//! Which file uses which names of which other file.
//!
//! A path is followed through imports and re-exports to the file that defines the item. An import
//! counts as a use of the item that it names, except for a public one: that is a re-export, and
//! counts only where the code of the file has the name. Comments, attributes, visibilities and tests
//! do not count. Methods are not followed: their type is.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::{
    Attribute, ExprCall, File, Item, ItemMod, ItemUse, Macro, Path, UseTree, Visibility,
    visit::{self, Visit},
};

use super::graph::Uses;

/// A path of modules from the root of the crate.
type ModulePath = Vec<String>;

/// All modules that are files.
pub(crate) struct Sources(BTreeMap<ModulePath, Module>);

#[derive(Default)]
struct Module {
    file: String,
    /// What `use` brings into scope, or re-exports: each name and the path behind it.
    imports: BTreeMap<String, Vec<String>>,
    /// Modules whose names all are in scope.
    globs: Vec<Vec<String>>,
    /// Items that are defined here.
    items: BTreeSet<String>,
    /// Paths that count as uses.
    used: Vec<Vec<String>>,
}

impl Sources {
    pub(crate) fn parse(texts: &BTreeMap<String, String>) -> Self {
        let is_test =
            |path: &str| path.split('/').any(|part| part.trim_end_matches(".rs") == "tests");
        let modules = texts.iter().filter(|(path, _)| !is_test(path)).map(|(path, text)| {
            let parsed = syn::parse_file(text).unwrap_or_else(|error| panic!("{path}: {error}"));
            (module_path(path), Module::new(path, &parsed))
        });
        Self(modules.collect())
    }

    pub(crate) fn uses(&self) -> Uses {
        let mut uses = Uses::new();
        for (path, module) in &self.0 {
            let of_file = uses.entry(module.file.clone()).or_default();
            for name in &module.used {
                if let Some((file, item)) = self.resolve(path, name, 0)
                    && file != module.file
                {
                    of_file.entry(file).or_default().insert(item);
                }
            }
        }
        uses
    }

    /// The file and the name of the item at a path in a module, unless it is outside of the crate or
    /// is itself a module.
    fn resolve(&self, from: &[String], path: &[String], depth: usize) -> Option<(String, String)> {
        let (first, rest) = path.split_first()?;
        let start = match &**first {
            "crate" | "mqtt_lb" => Vec::new(),
            "self" => from.to_vec(),
            "super" => from[..from.len().checked_sub(1)?].to_vec(),
            _ => return self.look_up(from, path, depth),
        };
        if rest.first().is_some_and(|next| next == "super") {
            return self.resolve(&start, rest, depth);
        }
        self.look_up(&start, rest, depth)
    }

    fn look_up(
        &self,
        module: &[String],
        path: &[String],
        depth: usize,
    ) -> Option<(String, String)> {
        // Two globs may name each other.
        if depth > 16 {
            return None;
        }
        let (first, rest) = path.split_first()?;
        let here = self.0.get(module)?;
        if here.items.contains(first) {
            return Some((here.file.clone(), first.clone()));
        }
        let child = [module, std::slice::from_ref(first)].concat();
        if self.0.contains_key(&child) {
            return self.look_up(&child, rest, depth);
        }
        if let Some(target) = here.imports.get(first) {
            let target = [target, rest].concat();
            return self.resolve(module, &target, depth + 1);
        }
        here.globs.iter().find_map(|glob| {
            let target = [glob, path].concat();
            self.resolve(module, &target, depth + 1)
        })
    }
}

fn module_path(file: &str) -> ModulePath {
    let path = file.trim_end_matches(".rs");
    let mut path: ModulePath = path.split('/').map(str::to_owned).collect();
    if path.last().is_some_and(|last| ["mod", "lib"].contains(&&**last)) {
        path.pop();
    }
    path
}

impl Module {
    fn new(file: &str, parsed: &File) -> Self {
        let mut module = Self { file: file.to_owned(), ..Self::default() };
        module.items.extend(parsed.items.iter().filter(|item| !is_test(item)).filter_map(name));
        module.visit_file(parsed);
        module
    }

    /// Notes a path in the code.
    fn note(&mut self, path: Vec<String>) {
        self.used.push(path);
    }

    fn import(&mut self, tree: &UseTree, mut path: Vec<String>, is_public: bool) {
        let (name, path) = match tree {
            UseTree::Path(next) => {
                path.push(next.ident.to_string());
                return self.import(&next.tree, path, is_public);
            }
            UseTree::Group(group) => {
                group.items.iter().for_each(|item| self.import(item, path.clone(), is_public));
                return;
            }
            UseTree::Glob(_) => return self.globs.push(path),
            UseTree::Name(last) if last.ident == "self" => (path.last().cloned(), path),
            UseTree::Name(last) => {
                path.push(last.ident.to_string());
                (Some(last.ident.to_string()), path)
            }
            UseTree::Rename(last) => {
                if last.ident != "self" {
                    path.push(last.ident.to_string());
                }
                (Some(last.rename.to_string()), path)
            }
        };
        if !is_public {
            self.note(path.clone());
        }
        if let Some(name) = name {
            // `use tls::Layer` in the file that has `mod tls` is no path from the root.
            self.imports.insert(name, path);
        }
    }

    fn note_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 && !path.is_empty() {
                        self.note_code(std::mem::take(&mut path));
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                other => {
                    self.note_code(std::mem::take(&mut path));
                    colons = 0;
                    if let TokenTree::Group(group) = other {
                        self.note_tokens(group.stream());
                    }
                }
            }
        }
        self.note_code(path);
    }

    /// Notes a path, unless it may be the name of a variable or a field.
    fn note_code(&mut self, path: Vec<String>) {
        let may_be_item = match &path[..] {
            [] => false,
            [only] => only.starts_with(char::is_uppercase),
            _ => true,
        };
        if may_be_item {
            self.note(path);
        }
    }
}

impl<'ast> Visit<'ast> for Module {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test(item) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !has_cfg_test(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if !has_cfg_test(&field.attrs) {
            visit::visit_field(self, field);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let is_public = !matches!(item.vis, Visibility::Inherited);
        self.import(&item.tree, Vec::new(), is_public);
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        // A `mod` of another file is no use of it.
        if item.content.is_some() {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_attribute(&mut self, _: &'ast Attribute) {}

    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_path(&mut self, path: &'ast Path) {
        self.note_code(segments(path));
        visit::visit_path(self, path);
    }

    fn visit_expr_call(&mut self, call: &'ast ExprCall) {
        if let syn::Expr::Path(function) = &*call.func {
            self.note(segments(&function.path));
        }
        visit::visit_expr_call(self, call);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        self.note_code(segments(&call.path));
        self.note_tokens(call.tokens.clone());
    }
}

fn segments(path: &Path) -> Vec<String> {
    path.segments.iter().map(|segment| segment.ident.to_string()).collect()
}

fn is_test(item: &Item) -> bool {
    let attributes = match item {
        Item::Const(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => return false,
    };
    has_cfg_test(attributes)
}

fn has_cfg_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let list = attribute.path().is_ident("cfg").then(|| attribute.meta.require_list().ok());
        list.flatten().is_some_and(|list| list.tokens.to_string() == "test")
    })
}

/// The name of an item, unless it is a module of another file.
fn name(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Mod(item) if item.content.is_some() => &item.ident,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(ident.to_string())
}
