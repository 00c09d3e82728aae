"""Reading of folders, tables, labels and file names, shared by the layouts."""
