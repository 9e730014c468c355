mod explore;
mod frames;
mod messages;
mod world;
