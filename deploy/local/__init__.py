"""An embedded broker and a process supervisor for one machine."""
