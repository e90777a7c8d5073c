"""Pages for people about the atlas: models and hardware, what they take, and plans made of them.

    places.py     which pages there are
    routes.py     their addresses, and what is sent along with each
    asking.py     what they need, and how they ask for it
    models.py     the list of models, and models side by side
    plan.py       ranked configurations, and the file of one
    lab.py        one model on one accelerator, and pictures of what follows
    triage.py     whether to train
    history.py    decisions that were kept
    keeping.py    keeping one from the page that shows it
    exercising.py exercises, and what was answered
    forms.py      arguments of an operation as fields of a form, and what was filled in as arguments again
    words.py      what each field is called, and why it matters; lab_words.py those of the laboratory
    sliders.py    which fields are sliders
    pictures.py   where marks of intervals and bars lie
    charts.py     lines with their intervals over loads and volumes
    drawing.py    the templates' common tools
    templates/    what is laid out where

They show what the operations answer and compute nothing of it. The history alone takes something in: what to keep,
and notes. They are read without scripts; a script only makes the laboratory quicker.
"""
