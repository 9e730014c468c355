mod pattern;
mod variables;
