mod families;
mod owned;
