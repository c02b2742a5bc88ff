from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from apps.accounts import views

app_name = "accounts"
urlpatterns: list[URLPattern | URLResolver] = [
    path("login/", views.login_view, name="login"),
    path("login/<str:token>/", views.login_link, name="login-link"),
    path("account/", views.profile, name="profile"),
    path("account/logout/", views.logout_view, name="logout"),
    path("account/theme/", views.theme, name="theme"),
    path("account/language/", views.language, name="language"),
    path("account/password/", views.password_change, name="password-change"),
    path("account/password/set/", views.password_set, name="password-set"),
    path("account/sessions/", views.session_list, name="sessions"),
    path("account/sessions/end/", views.session_end, name="session-end"),
    path("account/tokens/", views.tokens, name="tokens"),
    path("account/tokens/revoke/", views.token_revoke, name="token-revoke"),
    path(".well-known/change-password", views.well_known_change_password, name="well-known-change-password"),
]
