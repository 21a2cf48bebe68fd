"""A whole build in, decisions out: covers, redundancy curves, copies of whole videos."""
