"""Where rows come from: file formats, remote files, reference tables, reports that other jobs have written."""
