"""Training: a Lightning pipeline that resumes exactly, export, sweeps, and the libraries it knows."""
