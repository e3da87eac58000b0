//! Protocol 3.x as bytes: framing, views and the messages that we originate. No sockets.
