"""The Modelsmith engine: a library that evaluates, diagnoses, trains and decides. It knows neither MCP nor HTTP."""
