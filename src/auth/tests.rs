//! Both sides of every login, played against each other and against junk.
