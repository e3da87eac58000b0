//! /metrics, /livez and /readyz.
